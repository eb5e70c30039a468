"""How labels are stored: as bytes where the ids of the classes allow it, otherwise as 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

IGNORE = 255
"""The label of pixels that are excluded, for example from training, where labels are bytes."""
IGNORE_16 = 65535
"""The same where labels have 16 bits: always the largest number of the type."""
PIXELS_AT_ONCE = 2**18  # looked at together, to keep temporary arrays in the processor's cache
MAX_ID = IGNORE_16 - 1
"""The largest id of a class; 0 is the background."""
LEFT_OUT = -1
"""Stands for ignored pixels among ids of other programs, which may be 255 or 65535."""


def label_type(ids: Iterable[int]) -> np.dtype:
    """Return the type of the labels of classes: uint8 for ids up to 254, otherwise uint16."""
    return np.dtype(np.uint8 if max(ids, default=0) < IGNORE else np.uint16)


def ignore_label(dtype: np.dtype) -> int:
    """Return the label of ignored pixels, the largest number of the labels' type."""
    return int(np.iinfo(dtype).max)


def ignore_among(labels: Iterable[int]) -> int:
    """Return the label of ignored pixels where an image's counts are listed for some labels.

    Counts of 16-bit labels list that of ignored pixels, even where there are none.
    """
    return IGNORE_16 if max(labels, default=0) > IGNORE else IGNORE


def with_ignored_as(counts: Mapping[int, T], ignore: int) -> dict[int, T]:
    """Return an image's counts by label, those of its ignored pixels under another label.

    Images whose masks stayed while their job's ids grew beyond 254, or fell below, have the label
    of ignored pixels from before.
    """
    own = ignore_among(counts)
    return {ignore if label == own else label: count for label, count in counts.items()}


def with_left_out(labels: np.ndarray) -> np.ndarray:
    """Return labels as int32, in which ignored pixels are `LEFT_OUT`."""
    return np.where(labels == ignore_label(labels.dtype), np.int32(LEFT_OUT), labels)


def as_type(labels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return labels as another type that holds them; ignored pixels stay ignored."""
    if labels.dtype == dtype:
        return labels
    ignored = labels == ignore_label(labels.dtype)
    return np.where(ignored, dtype.type(ignore_label(dtype)), labels.astype(dtype))


def present_labels(labels: np.ndarray) -> np.ndarray:
    """Return the labels (H, W) that there are, in order.

    Labels come in runs, and only where one ends another can begin: looking for these places takes
    a tenth of the time of counting pixels.
    """
    step = max(1, PIXELS_AT_ONCE // labels.shape[1])
    found = [labels[0, :1]]
    for start in range(0, len(labels), step):
        some = labels[start : start + step].ravel()
        found += [some[:1], some[1:][some[1:] != some[:-1]]]
    return np.unique(np.concatenate(found))
