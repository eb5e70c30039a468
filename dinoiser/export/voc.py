"""PASCAL VOC: labelmap.txt and lists of images, as CVAT's "Segmentation mask 1.1" has them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError, SettingsError
from dinoiser.export.regions import annotated_classes, find_regions, map_regions

if TYPE_CHECKING:
    from dinoiser.export.options import ExportOptions
    from dinoiser.prompts import PromptSet

LABEL_MAP = "labelmap.txt"
CLASS_FOLDER = "SegmentationClass"
OBJECT_FOLDER = "SegmentationObject"
IMAGE_FOLDER = "JPEGImages"
SET_FOLDER = "ImageSets/Segmentation"
_MOST_OBJECTS = 255


def build_label_map(prompts: PromptSet, *, with_ignored: bool = False) -> str:
    """Describe the classes as VOC's readers expect it: name:red,green,blue:parts:actions.

    Parameters
    ----------
    prompts
        The classes.
    with_ignored
        Whether to list ignored pixels, as readers that take masks for colours need it.

    Raises
    ------
    SettingsError
        The name of a class has a colon, which separates the columns.
    """
    background = prompts.background
    rows = [(background.name if background else "background", 0)]
    rows += [(item.name, item.id) for item in annotated_classes(prompts)]
    rows += [("ignored", prompts.ignore)] if with_ignored else []
    with_colon = [name for name, _ in rows if ":" in name]
    if with_colon:
        msg = f"The class {with_colon[0]!r} has a colon, which {LABEL_MAP} cannot hold: rename it."
        raise SettingsError(msg)
    colors = prompts.palette.tolist()
    lines = [f"{name}:{','.join(map(str, colors[label]))}::\n" for name, label in rows]
    return "# label:color_rgb:parts:actions\n" + "".join(lines)


def number_objects(labels: np.ndarray, prompts: PromptSet, options: ExportOptions) -> np.ndarray:
    """Give each object of an image a number, (H, W) uint8; 0 is none.

    Parameters
    ----------
    labels
        (H, W) class ids; 0 = background and ignored pixels are no objects.
    prompts
        The classes that the labels refer to.
    options
        One object per class or per part, and the minimum area.

    Raises
    ------
    InputError
        A label is not a class of the prompt set, or there are more objects
        than an indexed image holds.
    """
    regions = map_regions(labels, options)
    kept = [r for r in find_regions(labels, regions, prompts) if r.area >= options.min_area]
    if len(kept) > _MOST_OBJECTS:
        msg = (
            f"there are {len(kept)} objects, but a mask of objects holds {_MOST_OBJECTS}; export "
            "without instances, or leave out small ones"
        )
        raise InputError(msg)
    numbers = np.zeros(int(regions.max()) + 1, np.uint8)
    numbers[[region.value for region in kept]] = np.arange(1, len(kept) + 1)
    return numbers[regions]


def object_palette() -> np.ndarray:
    """Return VOC's colours of objects, (256, 3) uint8 RGB."""
    # the bits of a number, from the lowest, go in turn to red, green and blue, from the highest
    numbers, colors = np.arange(256), np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colors[:, bit % 3] |= (((numbers >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return colors
