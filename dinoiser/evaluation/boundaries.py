"""How well boundaries match: the band in which they are compared."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dinoiser.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

OUTSIDE = -2
"""What is beyond the image's edge, which counts as a boundary as in the published code."""


@dataclass(frozen=True)
class Band:
    """The width of a boundary, on the inner side of a class.

    Attributes
    ----------
    share
        As a share of the image's diagonal; 0.02 in the paper.
    pixels
        In pixels; replaces the share if it is given.

    References
    ----------
    Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation
    Evaluation, CVPR 2021.
    """

    share: float = 0.02
    pixels: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a width such as "2%" or "4px".

        Raises
        ------
        SettingsError
            It is neither.
        """
        if match := re.fullmatch(r"([1-9]\d*)\s*px", text.strip()):
            return cls(pixels=int(match[1]))
        if (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())) and 0 < float(
            match[1]
        ) < 100:
            return cls(share=float(match[1]) / 100)
        msg = (
            f"--band is {text!r}, expected a share of the image's diagonal, such as 2%, or a width "
            "in pixels, such as 4px"
        )
        raise SettingsError(msg)

    def __str__(self) -> str:
        return f"{self.pixels} px" if self.pixels else f"{100 * self.share:g} % of the diagonal"

    def width(self, size: Sequence[int]) -> int:
        """Width in pixels in an image of size (H, W): at least 1, at most its longer side."""
        wanted = self.pixels or max(1, round(self.share * math.hypot(*size)))
        return min(wanted, max(size))  # a wider one is the whole image, too

    def within(self, labels: np.ndarray) -> np.ndarray:
        """Return where labels (H, W) are near another label or the image's edge, bool (H, W)."""
        from scipy import ndimage  # type: ignore[import-untyped]

        side = 2 * self.width(labels.shape) + 1
        signed = labels.astype("int32", copy=False)  # as `OUTSIDE` is negative
        smallest, largest = (
            extreme(signed, side, mode="constant", cval=OUTSIDE)
            for extreme in (ndimage.minimum_filter, ndimage.maximum_filter)
        )
        return smallest != largest
