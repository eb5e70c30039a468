"""Pixels without data: how files declare them, and how to find those that no file declares."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dinoiser.images.scaling import PERCENTILES, sample_step

if TYPE_CHECKING:
    from tifffile import TiffPage

_GDAL_NODATA = 42113
_USUAL = (-9999.0, -32768.0, float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
_LEAST_SHARE = PERCENTILES[0] / 100  # fewer pixels hardly move the percentiles
_LEAST_GAP = 0.1  # of the range of the other values; photographs have no such gap


class ReadImage(NamedTuple):
    """An image, and which of its pixels hold no data.

    Attributes
    ----------
    rgb
        (H, W, 3) uint8, upright.
    missing
        (H, W) bool: pixels without data, of which no colour is known; None if
        there are none.
    warning
        One sentence, if a value looks like missing data but is not declared, or
        alpha like another band.
    """

    rgb: np.ndarray
    missing: np.ndarray | None = None
    warning: str | None = None


def declared_nodata(page: TiffPage, given: float | None = None) -> tuple[float, ...]:
    """Return the values that mean "no data": that of GDAL's tag, and the one given."""
    tag = page.tags.get(_GDAL_NODATA)
    values = [] if given is None else [float(given)]
    if tag is not None:
        with suppress(ValueError):  # GDAL, too, goes on without a value that is no number
            values.append(float(str(tag.value).strip("\0 ")))
    return tuple(values)


def missing_values(samples: np.ndarray, nodata: tuple[float, ...]) -> np.ndarray | None:
    """Find the samples that hold no data: one of the values declared, or NaN.

    Returns
    -------
    np.ndarray or None
        bool, in the shape of `samples`; None if none can be missing.
    """
    is_float = samples.dtype.kind == "f"
    missing = np.isnan(samples) if is_float else None
    for value in nodata:
        stored = _as_stored(value, samples.dtype)
        if stored is not None:
            equal = samples == stored
            missing = equal if missing is None else np.logical_or(missing, equal, out=missing)
    return missing


def _as_stored(value: float, dtype: np.dtype) -> np.generic | None:
    """Round a value as a file of this type does; None if it cannot hold it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    if dtype.kind not in "iu" or not value.is_integer():
        return None
    limits = np.iinfo(dtype)
    # limits of 64 bits are no floats: the nearest is one beyond
    whole = min(int(value), limits.max) if value == float(limits.max) else int(value)
    return dtype.type(whole) if limits.min <= whole <= limits.max else None


def missing_pixels(pixels: np.ndarray) -> np.ndarray | None:
    """Find the pixels (H, W) of a masked array (H, W, C) that are masked in all channels."""
    if not np.ma.is_masked(pixels):
        return None
    return np.asarray(np.ma.getmaskarray(pixels).all(axis=-1))


def warn_of_undeclared(pixels: np.ndarray) -> str | None:
    """Warn if values look like missing data that the file does not declare.

    Parameters
    ----------
    pixels
        Grey, RGB or RGBA (H, W, C); those known to be missing are masked.

    Returns
    -------
    str or None
        One sentence, if the least or the largest value is one that usually
        means "no data", fills a region, and lies far from all others. 8-bit
        images are not looked at, as nothing in them is stretched.
    """
    if pixels.dtype in (np.uint8, bool):
        return None
    step = sample_step(*pixels.shape[:2])
    sample = pixels[::step, ::step, : 3 if pixels.shape[2] == 4 else None]
    known = ~np.ma.getmaskarray(sample).any(axis=-1)
    return _undeclared(np.ma.getdata(sample)[known])


def warn_of_partial_alpha(pixels: np.ndarray) -> str | None:
    """Warn if what is marked as alpha looks like another band, such as near-infrared.

    Parameters
    ----------
    pixels
        Grey, RGB or RGBA (H, W, C).

    Returns
    -------
    str or None
        One sentence, if most pixels are partly transparent, as in hardly any picture.
    """
    if pixels.shape[2] != 4:
        return None
    step = sample_step(*pixels.shape[:2])
    alpha = np.ma.getdata(pixels)[::step, ::step, 3]
    opaque = 255 if alpha.dtype == np.uint8 else alpha.max(initial=1)  # see `on_white`
    share = np.mean((alpha > 0) & (alpha < opaque))
    if share <= 0.5:
        return None
    return (
        f"{share:.0%} of the pixels are partly transparent, and were laid on white; if what is "
        "marked as alpha is another band, such as near-infrared, choose the colours: "
        "--bands 1,2,3, or bands=(1, 2, 3) in Python"
    )


def _undeclared(sample: np.ndarray) -> str | None:
    if sample.size == 0:
        return None
    usual = (*_USUAL, *_limits(sample.dtype))
    for value in (sample.min(), sample.max()):
        filled = (sample == value).all(axis=-1)
        if float(value) in usual and filled.mean() >= _LEAST_SHARE:
            others = sample[~filled]
            if others.size and _lies_apart(float(value), others):
                text = repr(float(value)).removesuffix(".0")  # exact, so that it can be declared
                return (
                    f"the value {text} fills a region, far from all other values, but is not "
                    f"declared as missing data; if it is, declare it: --nodata {text}, or "
                    f"nodata={text} in Python"
                )
    return None


def _limits(dtype: np.dtype) -> tuple[float, float]:
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _lies_apart(value: float, others: np.ndarray) -> bool:
    low, high = np.percentile(others, PERCENTILES, method="nearest").astype(float)
    gap = min(abs(value - low), abs(value - high))
    return math.isinf(gap) or gap > _LEAST_GAP * (high - low)
