"""Leave out what no image can have: records may be damaged, or written by other programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dinoiser.labels import IGNORE_16
from dinoiser.segmentation import HISTOGRAM_BINS

if TYPE_CHECKING:
    from dinoiser.batch.records import Record

_MOST_PIXELS = 2**53  # far more than any image has; sums and means of them stay finite


def plausible_record(record: Record) -> Record:
    """Return a record without the figures that no image can have.

    Parameters
    ----------
    record
        Record of an image.

    Returns
    -------
    Record
        An equal one if all its figures are plausible.
    """
    pixels = plausible_pixels(record.pixels)
    size = record.size
    if size and not all(0 < length <= _MOST_PIXELS for length in size):
        size = None
    confidence = {
        label: mean
        for label, mean in record.confidence.items()
        if mean is None or 0 <= round(mean, 3) <= 1  # false for NaN, too
    }
    histogram = {
        label: counts
        for label, counts in record.histogram.items()
        if len(counts) == HISTOGRAM_BINS and all(map(_is_count, counts))
    }
    seconds = record.seconds if math.isfinite(record.seconds) and record.seconds >= 0 else 0.0
    figures: dict[str, Any] = {"size": size, "pixels": pixels, "confidence": confidence}
    figures |= {"histogram": histogram, "seconds": seconds}
    return record.model_copy(update=figures)


def plausible_pixels(pixels: dict[int, int]) -> dict[int, int]:
    """Return the numbers of pixels by label that a mask can have."""
    return {
        label: count
        for label, count in pixels.items()
        if 0 <= label <= IGNORE_16 and _is_count(count)
    }


def _is_count(number: int) -> bool:
    return 0 <= number <= _MOST_PIXELS
