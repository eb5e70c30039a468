"""Intersection over union, summed over a set of pictures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class ClassIoU:
    """Counts intersections and unions by class name over many pictures."""

    def __init__(self) -> None:
        self._intersections: Counter[str] = Counter()
        self._unions: Counter[str] = Counter()
        self._true: set[str] = set()

    def add(self, predicted: np.ndarray, true: np.ndarray, names: Sequence[str]) -> None:
        """Count one picture.

        Parameters
        ----------
        predicted, true
            (H, W) unsigned integers, indices into `names`.
        names
            The classes of this picture; pictures may have different ones.
        """
        count = len(names)
        pairs = np.bincount(
            true.ravel().astype(np.int64) * count + predicted.ravel(), minlength=count**2
        )
        matrix = pairs.reshape(count, count)  # rows: true, columns: predicted
        unions = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        for i, name in enumerate(names):
            self._intersections[name] += int(matrix[i, i])
            self._unions[name] += int(unions[i])
            if matrix[i].any():
                self._true.add(name)

    def by_class(self) -> dict[str, float]:
        """IoU in [0, 1] of every class that is somewhere in the truth."""
        return {name: self._intersections[name] / self._unions[name] for name in sorted(self._true)}

    def mean(self) -> float:
        """Mean IoU in [0, 1] over the classes that are somewhere in the truth."""
        return float(np.mean(list(self.by_class().values())))
