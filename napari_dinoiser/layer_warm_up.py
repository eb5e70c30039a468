"""Do what napari does once before it can show a layer, where no window waits for it."""

from __future__ import annotations

from contextlib import suppress
from functools import cache


@cache
def warm_up_layers() -> None:
    """Make the first layers of a process, which nobody sees; call it in a thread.

    For them napari imports pandas, scikit-image and a registry of units, and
    computes colours and patterns of dashed lines, which takes most of a second.
    Adding a layer to a viewer, which only the window's thread can do, is then as
    quick as later ones are.
    """
    import numpy as np
    from napari.layers import Image, Labels

    pixel = np.zeros((1, 1), np.uint8)
    Labels(pixel, features={"index": [0]})
    Image(pixel, colormap="viridis")
    with suppress(ImportError):  # vispy may move what it keeps to itself
        from vispy.visuals.line.dash_atlas import DashAtlas

        DashAtlas()  # its patterns are kept for the polygons that each Labels layer can draw
