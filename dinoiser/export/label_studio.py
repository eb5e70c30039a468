"""Label Studio: tasks whose predictions are brush strokes, and the interface that shows them."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from dinoiser.export.brush import encode_brush
from dinoiser.export.options import DEFAULTS, ExportOptions
from dinoiser.export.regions import annotated_classes, find_regions, map_regions

if TYPE_CHECKING:
    import numpy as np

    from dinoiser.prompts import PromptSet


def build_task(
    labels: np.ndarray, image_name: str, prompts: PromptSet, options: ExportOptions = DEFAULTS
) -> dict[str, Any]:
    """Describe the labels of one image as a task with a prediction.

    Parameters
    ----------
    labels
        (H, W) class ids; 0 = background and ignored pixels are left out.
    image_name
        Path relative to the input folder, with forward slashes.
    prompts
        The classes that the labels refer to.
    options
        One stroke per class or per part, minimum area, and the URL before the
        image's name.

    Raises
    ------
    InputError
        A label is not a class of the prompt set.
    """
    strokes = build_strokes(labels, prompts, options)
    return {
        "data": {"image": options.image_url + quote(image_name)},
        "predictions": [{"model_version": model_version(), "result": strokes}],
    }


def model_version() -> str:
    """Return what Label Studio shows as the origin of predictions."""
    return f"napari-dinoiser {importlib.metadata.version('napari-dinoiser')}"


def build_strokes(
    labels: np.ndarray,
    prompts: PromptSet,
    options: ExportOptions = DEFAULTS,
    from_name: str = "label",
    to_name: str = "image",
) -> list[dict[str, Any]]:
    """Describe the labels of one image as brush strokes.

    Parameters
    ----------
    labels, prompts, options
        See `build_task`.
    from_name, to_name
        Names of the brush and of the image in the labelling interface.
    """
    regions = map_regions(labels, options)
    names = {item.id: item.name for item in prompts.classes}
    height, width = labels.shape
    return [
        {
            "id": f"{region.class_id}-{region.index}",
            "from_name": from_name,
            "to_name": to_name,
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": encode_brush(regions == region.value),
                "brushlabels": [names[region.class_id]],
            },
        }
        for region in find_regions(labels, regions, prompts)
        if region.area >= options.min_area
    ]


def build_interface(prompts: PromptSet) -> str:
    """Write the labelling interface, to be pasted into the project's settings."""
    labels = [
        f"    <Label value={quoteattr(item.name)} background={quoteattr(item.color)}/>\n"
        for item in annotated_classes(prompts)
    ]
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="label" toName="image">\n{"".join(labels)}  </BrushLabels>\n</View>\n'
    )
