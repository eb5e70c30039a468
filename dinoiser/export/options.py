"""Options for annotations."""

from __future__ import annotations

from dataclasses import dataclass

from dinoiser.errors import SettingsError
from dinoiser.export.dataset_file import ID_BITS, stable_id
from dinoiser.plain import make_plain

LAYOUTS = ("plain", "datumaro")


@dataclass(frozen=True)
class ExportOptions:
    """How labels become annotations.

    Attributes
    ----------
    polygons
        COCO: write polygons instead of run lengths.
    instances
        One annotation per 4-connected part of a class, instead of one per class
        and image. YOLO always has one per part. Parts are split at their necks,
        see `split`.
    split
        From 0 to 1, how eagerly instances that touch are split at their necks,
        see `split_parts`; 0 splits only what does not touch.
    min_area
        Leave out annotations with fewer pixels.
    layout
        COCO: "plain", or "datumaro" for the folders that Datumaro and CVAT read.
    val
        From 0 to below 1, the share of images that YOLO and VOC list for
        validation; which ones depends on their names alone. 0 lists none.
    flat
        YOLO: all images in one folder, "a/b.jpg" as "a__b.jpg".
    image_url
        Label Studio: what precedes an image's name in its URL.

    Raises
    ------
    SettingsError
        `min_area` is not a whole number of at least 0, `split` is not from 0
        to 1, `val` is not from 0 to below 1, or there is no such layout.
    """

    polygons: bool = False
    instances: bool = False
    min_area: int = 0
    split: float = 0.7
    layout: str = "plain"
    val: float = 0.0
    flat: bool = False
    image_url: str = "/data/local-files/?d="

    def __post_init__(self) -> None:
        make_plain(self)
        if type(self.min_area) is not int or self.min_area < 0:
            msg = (
                f"min_area is {self.min_area!r}, expected a number of pixels: a whole number of "
                "at least 0."
            )
            raise SettingsError(msg)
        if not isinstance(self.split, int | float) or not 0 <= self.split <= 1:
            msg = f"split is {self.split!r}, expected a number from 0 to 1."
            raise SettingsError(msg)
        if not isinstance(self.val, int | float) or not 0 <= self.val < 1:
            msg = f"val is {self.val!r}, expected a share of the images: from 0 to below 1."
            raise SettingsError(msg)
        if self.layout not in LAYOUTS:
            msg = f"layout is {self.layout!r}, expected {' or '.join(LAYOUTS)}."
            raise SettingsError(msg)

    def subset(self, image_name: str) -> str:
        """Tell whether an image is for "train" or "val", by its name alone."""
        return "val" if stable_id(image_name) < self.val * 2**ID_BITS else "train"


DEFAULTS = ExportOptions()
