"""Scale pixel values of any type to 8 bits, and lay transparent ones on white."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

PERCENTILES = (0.5, 99.5)
"""Percentiles that become 0 and 255 where the type has no natural range."""

_SAMPLE_PIXELS = 2**21  # enough for stable percentiles without sorting a large image
_BAND_VALUES = 2**22  # values converted at a time: 32 MB in float64


def to_uint8(pixels: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Scale pixel values to 8 bits.

    8-bit values stay as they are, booleans become 0 and 255, and floats that
    all lie within [0, 1] are scaled from that range. Everything else (other
    integers, other floats) is stretched so that the 0.5th percentile of the
    values becomes 0 and the 99.5th becomes 255. The percentiles are taken over
    all channels together, which preserves the ratios of colours; large images
    are sampled on an even grid of about two million pixels.

    Parameters
    ----------
    pixels
        Values, shape (H, W, C), of a boolean, integer or float dtype. NaN and
        minus infinity become the lowest value, infinity the highest.
    counted
        Values that decide how all are scaled, shape (H, W, C), bool; None uses
        all.

    Returns
    -------
    np.ndarray
        The scaled values, shape (H, W, C), uint8 in [0, 255]. An image with a
        single value becomes 0 unless its type has a natural range.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "f" and _within_unit_range(pixels, counted):
        return stretch(pixels, 0.0, 1.0)
    step = sample_step(*pixels.shape[:2])
    sample = pixels[::step, ::step]
    if counted is not None:
        sample = sample[counted[::step, ::step]]
    return stretch(pixels, *percentile_range(sample))


def sample_step(height: int, width: int) -> int:
    """Step of a grid of about two million pixels that represents an image of this size."""
    return math.ceil(math.sqrt(height * width / _SAMPLE_PIXELS))


def percentile_range(sample: np.ndarray) -> tuple[float, float]:
    """Return the values that become 0 and 255, from a sample of any shape."""
    values = sample[np.isfinite(sample)]
    if values.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(values, PERCENTILES, method="nearest")
    # nearly all pixels alike: use the few that differ
    if low == high:
        low, high = values.min(), values.max()
    # below half the largest float, so that high - low stays finite
    low, high = np.clip((float(low), float(high)), -8e307, 8e307)
    return float(low), float(high)


def stretch(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale values (H, W, C) to uint8 so that `low` becomes 0 and `high` 255; NaN becomes 0."""
    stretched = np.zeros(pixels.shape, np.uint8)
    if low == high:
        return stretched
    for band in _bands(pixels):
        values = pixels[band].astype(np.float64)
        values[np.isnan(values)] = low
        stretched[band] = np.rint((values.clip(low, high) - low) / (high - low) * 255)
    return stretched


def on_white(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay a transparent image on white paper, as browsers and viewers show it.

    Parameters
    ----------
    colors
        Straight (not premultiplied) colours, shape (H, W, C), uint8 in [0, 255].
    alpha
        Opacity, shape (H, W), of any real dtype. Opaque is 255 for uint8 and
        otherwise the largest value found, but at least 1.

    Returns
    -------
    np.ndarray
        Opaque colours, shape (H, W, C), uint8 in [0, 255].
    """
    opaque = 255.0
    if alpha.dtype != np.uint8:
        opaque = float(alpha[np.isfinite(alpha)].max(initial=1))
    if np.all(alpha == opaque):
        return colors
    composed = np.empty_like(colors)
    for band in _bands(colors):
        opacity = np.nan_to_num(alpha[band].astype(np.float64).clip(0, opaque) / opaque)
        opacity = opacity[..., np.newaxis]
        composed[band] = np.rint(colors[band] * opacity + 255 * (1 - opacity))
    return composed


def _within_unit_range(pixels: np.ndarray, counted: np.ndarray | None) -> bool:
    # fmin and fmax ignore NaN and, unlike nanmin, do not copy the image
    where: Any = True if counted is None else counted
    lowest, highest = (
        function.reduce(pixels, axis=None, where=where, initial=np.nan)
        for function in (np.fmin, np.fmax)
    )
    return bool(lowest >= 0 and highest <= 1)


def _bands(pixels: np.ndarray) -> Iterator[slice]:
    """Yield slices of rows, to keep the float copies of a large image small."""
    rows = max(1, _BAND_VALUES // max(1, pixels[0].size))
    for start in range(0, len(pixels), rows):
        yield slice(start, start + rows)
