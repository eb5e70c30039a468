"""Intersection over union, summed over a set of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dinoiser.labels import ignore_label

if TYPE_CHECKING:
    from collections.abc import Sequence


class ConfusionMatrix:
    """Counts pixels by true and predicted class over many images, like mmsegmentation.

    Parameters
    ----------
    names
        The classes, in the order of the labels.

    Attributes
    ----------
    counts
        (K, K + 1) int64: rows are true classes and columns predicted ones. The
        last column is for pixels without a predicted class.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.counts = np.zeros((len(self.names), len(self.names) + 1), np.int64)

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Count one image.

        Parameters
        ----------
        predicted, true
            (H, W) uint8 or uint16, indices into `names`. Pixels whose truth is
            the largest number of the type are ignored; a prediction beyond the
            classes counts as wrong.
        """
        classes = len(self.names)
        known = true != ignore_label(true.dtype)
        columns = np.minimum(predicted[known].astype(np.int64), classes)
        # index into the flattened matrix: row * columns + column
        pairs = true[known].astype(np.int64) * (classes + 1) + columns
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def by_class(self) -> dict[str, float | None]:
        """IoU in [0, 1] of each class; None for one that is neither true nor predicted."""
        hits = self.counts.diagonal()
        unions = self.counts.sum(1) + self.counts.sum(0)[:-1] - hits
        return {
            name: int(hit) / int(union) if union else None
            for name, hit, union in zip(self.names, hits, unions, strict=True)
        }

    def mean(self) -> float | None:
        """Mean IoU in [0, 1] over the classes that have one; None if none has."""
        known = [iou for iou in self.by_class().values() if iou is not None]
        return float(np.mean(known)) if known else None

    def accuracy(self) -> float | None:
        """Share in [0, 1] of pixels whose predicted class is the true one; None without pixels."""
        total = int(self.counts.sum())
        return int(self.counts.diagonal().sum()) / total if total else None
