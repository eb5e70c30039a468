"""PASCAL VOC: labelmap.txt and lists of images, as CVAT's "Segmentation mask 1.1" has them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoiser.errors import SettingsError
from dinoiser.export.regions import annotated_classes
from dinoiser.segmentation import IGNORE

if TYPE_CHECKING:
    from dinoiser.prompts import PromptSet

LABEL_MAP = "labelmap.txt"
CLASS_FOLDER = "SegmentationClass"
IMAGE_FOLDER = "JPEGImages"
SET_FOLDER = "ImageSets/Segmentation"


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
    rows += [("ignored", IGNORE)] if with_ignored else []
    with_colon = [name for name, _ in rows if ":" in name]
    if with_colon:
        msg = f"The class {with_colon[0]!r} has a colon, which {LABEL_MAP} cannot hold: rename it."
        raise SettingsError(msg)
    colors = prompts.palette.tolist()
    lines = [f"{name}:{','.join(map(str, colors[label]))}::\n" for name, label in rows]
    return "# label:color_rgb:parts:actions\n" + "".join(lines)
