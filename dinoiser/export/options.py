"""Options for annotations."""

from __future__ import annotations

from dataclasses import dataclass

from dinoiser.errors import SettingsError


@dataclass(frozen=True)
class ExportOptions:
    """How labels become annotations.

    Attributes
    ----------
    polygons
        COCO: write polygons instead of run lengths.
    instances
        COCO and panoptic: one annotation per 4-connected part of a class,
        instead of one per class and image. YOLO always has one per part. Parts
        are split at their necks, see `split`.
    split
        From 0 to 1, how eagerly instances that touch are split at their necks,
        see `split_parts`; 0 splits only what does not touch.
    min_area
        Leave out annotations with fewer pixels.

    Raises
    ------
    SettingsError
        `min_area` is not a whole number of at least 0, or `split` is not from
        0 to 1.
    """

    polygons: bool = False
    instances: bool = False
    min_area: int = 0
    split: float = 0.7

    def __post_init__(self) -> None:
        if type(self.min_area) is not int or self.min_area < 0:
            msg = (
                f"min_area is {self.min_area!r}, expected a number of pixels: a whole number of "
                "at least 0."
            )
            raise SettingsError(msg)
        if not isinstance(self.split, int | float) or not 0 <= self.split <= 1:
            msg = f"split is {self.split!r}, expected a number from 0 to 1."
            raise SettingsError(msg)


DEFAULTS = ExportOptions()
