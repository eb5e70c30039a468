"""How the pixels of image files are read: chosen once, for all that look at a job's images."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dinoiser.errors import ImageError, refuse_settings
from dinoiser.plain import make_plain

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class ReadSettings:
    """How the pixels of image files become colours.

    Attributes
    ----------
    nodata
        A value of TIFF files that means missing data, in addition to those that
        they declare.
    bands
        The bands to use as red, green and blue, or the one to use as grey,
        counted from 1 as GDAL, rasterio and QGIS do. None for those that a file
        says are its colours.

    Raises
    ------
    SettingsError
        Lists all settings that are out of range.
    """

    nodata: float | None = None
    bands: Sequence[int] | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        refuse_settings([*_nodata_problems(self.nodata), *_bands_problems(self.bands)])
        if self.bands is not None:
            object.__setattr__(self, "bands", tuple(map(operator.index, self.bands)))

    @classmethod
    def parse(cls, nodata: float | None, bands: str | None) -> ReadSettings:
        """Read the options --nodata and --bands, such as "4,3,2".

        Raises
        ------
        SettingsError
            No image can be read so.
        """
        # what is no number stays text, which is refused
        return cls(nodata, None if bands is None else list(map(_number, bands.split(","))))

    def options(self) -> list[str]:
        """Write the options that `parse` reads; none where files decide."""
        nodata = [] if self.nodata is None else ["--nodata", str(self.nodata)]
        bands = [] if self.bands is None else ["--bands", ",".join(map(str, self.bands))]
        return nodata + bands

    def described(self) -> dict[str, Any]:
        """Describe for job.yaml what was chosen; nothing where files decide."""
        bands = None if self.bands is None else list(self.bands)
        chosen = {"nodata": self.nodata, "bands": bands}
        return {name: value for name, value in chosen.items() if value is not None}


def chosen_samples(bands: Sequence[int], count: int) -> list[int]:
    """Return the indices, from 0, of bands of an image that has `count` of them.

    Raises
    ------
    ImageError
        It has fewer.
    """
    lacking = [band for band in bands if band > count]
    if lacking:
        has = "1 band" if count == 1 else f"{count} bands"
        msg = (
            f"the image has {has}, and --bands {','.join(map(str, bands))} asks for band "
            f"{lacking[0]}; images of other bands need a run of their own"
        )
        raise ImageError(msg)
    return [band - 1 for band in bands]


def _number(text: str) -> Any:
    return int(text) if text.strip().isdecimal() else text


def _nodata_problems(nodata: object) -> list[str]:
    if nodata is None:
        return []
    if isinstance(nodata, str) or not hasattr(nodata, "__float__"):
        return [f"nodata is {nodata!r}, expected a number"]
    if math.isnan(float(nodata)):
        return ["nodata is nan, which counts as missing in any case: leave it out"]
    return []


def _bands_problems(bands: Any) -> list[str]:
    try:
        numbers = [] if bands is None else [operator.index(band) for band in bands]
    except TypeError:
        numbers = []
    if bands is None or (len(numbers) in (1, 3) and min(numbers) >= 1):
        return []
    return [
        f"bands is {bands!r}, expected one number (grey) or three (red, green, blue), counted "
        "from 1, such as 4,3,2"
    ]


AS_STORED = ReadSettings()
"""As each file says."""
