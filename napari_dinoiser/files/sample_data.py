"""Sample data: a drawn scene with its true labels, and a photo."""

from __future__ import annotations

from typing import Any

SEED = 7


def sample_scene() -> list[tuple[Any, dict[str, Any], str]]:
    """Draw a scene that the embedded model can label.

    Returns
    -------
    list
        napari layer tuples: the image (320, 448, 3) uint8, and its true
        labels (320, 448) uint8 with the classes' names in `features`.
    """
    import numpy as np

    from dinoiser.scenes import draw_scene

    scene = draw_scene(np.random.default_rng(SEED), (320, 448))
    names = ["background", *scene.names]
    truth = {
        "name": "true labels",
        "features": {"index": list(range(len(names))), "class": names},
        "visible": False,
    }
    return [
        (scene.image, {"name": "drawn scene", "rgb": True}, "image"),
        (scene.labels, truth, "labels"),
    ]


def sample_photo() -> list[tuple[Any, dict[str, Any], str]]:
    """Open the photo of a cat that comes with scikit-image.

    Returns
    -------
    list
        A napari layer tuple: the image (300, 451, 3) uint8.
    """
    from skimage.data import chelsea

    return [(chelsea(), {"name": "cat", "rgb": True}, "image")]
