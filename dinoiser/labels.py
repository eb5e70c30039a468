"""How labels are stored: as bytes where the ids of the classes allow it, otherwise as 16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

IGNORE = 255
"""The label of pixels that are excluded, for example from training, where labels are bytes."""
IGNORE_16 = 65535
"""The same where labels have 16 bits: always the largest number of the type."""
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


def with_left_out(labels: np.ndarray) -> np.ndarray:
    """Return labels as int32, in which ignored pixels are `LEFT_OUT`."""
    return np.where(labels == ignore_label(labels.dtype), np.int32(LEFT_OUT), labels)


def as_type(labels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return labels as another type that holds them; ignored pixels stay ignored."""
    if labels.dtype == dtype:
        return labels
    ignored = labels == ignore_label(labels.dtype)
    return np.where(ignored, dtype.type(ignore_label(dtype)), labels.astype(dtype))


def count_labels(labels: np.ndarray) -> np.ndarray:
    """Count the pixels of each label (H, W) that its type can hold: 256 or 65,536 numbers."""
    from PIL import Image

    if labels.dtype == np.uint8:  # several times as fast as counting integers
        return np.array(Image.fromarray(labels).histogram())
    return np.bincount(labels.ravel(), minlength=ignore_label(labels.dtype) + 1)
