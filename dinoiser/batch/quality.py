"""How good an image's mask probably is, and how much work it needs, from its record alone.

Mean confidence over all pixels says neither: most pixels are background, whose confidence tells
little about the objects. Both numbers here were chosen among fifty by their rank correlation with
the truth on drawn scenes; `tests/batch/test_quality.py` measures them on others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoiser.labels import ignore_among

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKGROUND = 0


def expected_iou(pixels: Mapping[int, int], confidence: Mapping[int, float | None]) -> float | None:
    """Estimate the mean IoU of an image's classes, taking confidence for what it promises.

    Of a class's pixels, the share that its mean confidence says is right. What the
    other classes doubt may belong to any class but themselves: each of the rest is
    taken to have missed an equal part of it.

    Parameters
    ----------
    pixels
        Number of pixels of each label.
    confidence
        Mean confidence of each class's pixels, from 0 to 1; None if it has none.

    Returns
    -------
    float or None
        From 0 to 1: the mean over the classes that were found without background,
        or for background alone if nothing else was found; None if all pixels are
        ignored.
    """
    found = _found(pixels, confidence)
    doubt = {label: count * (1 - mean) for label, (count, mean) in found.items()}
    total, others = sum(doubt.values()), max(1, len(found) - 1)
    ious = {
        label: (count - doubt[label]) / (count + (total - doubt[label]) / others)
        for label, (count, _) in found.items()
    }
    objects = [iou for label, iou in ious.items() if label != BACKGROUND] or [*ious.values()]
    return sum(objects) / len(objects) if objects else None


def expected_work(
    pixels: Mapping[int, int], confidence: Mapping[int, float | None]
) -> float | None:
    """Estimate how much there is to correct; only the order of images means something.

    It is the plain mean of what the classes doubt, background included, however large
    they are.

    Parameters
    ----------
    pixels, confidence
        See `expected_iou`.

    Returns
    -------
    float or None
        From 0 to 1; None if all pixels are ignored.
    """
    found = _found(pixels, confidence)
    return 1 - sum(mean for _, mean in found.values()) / len(found) if found else None


def _found(
    pixels: Mapping[int, int], confidence: Mapping[int, float | None]
) -> dict[int, tuple[int, float]]:
    """Pixels and mean confidence of the classes that have any; impossible figures are left out."""
    ignore = ignore_among(pixels)
    known = ((label, count, confidence.get(label)) for label, count in pixels.items())
    return {
        label: (count, min(mean, 1.0))  # rounding may have added a little
        for label, count, mean in known
        if label != ignore and count > 0 and mean is not None and mean >= 0
    }
