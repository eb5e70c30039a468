"""The result for one image: labels, confidence and heat maps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dinoiser.errors import InputError
from dinoiser.labels import ignore_label, present_labels

if TYPE_CHECKING:
    from dinoiser.prompts import PromptSet

HISTOGRAM_BINS = 20
FLOAT16_VALUES = 0x3C01
"""Number of float16 values in [0, 1]; in order, their bits are 0, 1, 2 ..."""
TILE = 512  # pixels of a side of what is counted at a time: often of one label, and in the cache

_VALUES = np.arange(FLOAT16_VALUES, dtype=np.uint16).view(np.float16).astype(np.float64)
_BINS = np.minimum(_VALUES.astype(np.float32) * HISTOGRAM_BINS, HISTOGRAM_BINS - 1).astype(int)
_FIRST_OF_BIN = np.searchsorted(_BINS, np.arange(HISTOGRAM_BINS))


class Probabilities(Protocol):
    """Source of a segmentation's probabilities, computed on request."""

    def heat_map(self, channel: int) -> np.ndarray:
        """Probabilities (H, W) float32 in [0, 1] of one class."""

    def at(self, row: int, column: int) -> np.ndarray:
        """Probabilities (K,) float32 in [0, 1] of all classes at one pixel."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Which class every pixel of an image belongs to.

    Attributes
    ----------
    labels
        (H, W) class ids; 0 = background. uint8 with 255 = ignore, or uint16 with
        65535 = ignore if there are ids above 254.
    confidence
        (H, W) float16 in [0, 1], probability of the winning class, also under
        ignored pixels. It is 1 where the background
        filter chose the pixel.
    prompts
        The classes that the labels refer to.
    """

    labels: np.ndarray
    confidence: np.ndarray
    prompts: PromptSet
    _source: Probabilities | None = field(default=None, repr=False, compare=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segmentation):
            return NotImplemented
        return (
            self.prompts == other.prompts
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.confidence, other.confidence)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays can be written to

    def __repr__(self) -> str:
        height, width = self.size
        return f"Segmentation({height} x {width} pixels, {self.prompts})"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.labels.shape

    def probabilities(self, name: str) -> np.ndarray:
        """Heat map of one class, computed on request.

        Parameters
        ----------
        name
            Name of a class in `prompts`.

        Returns
        -------
        ndarray
            (H, W) float32 in [0, 1], refined as the labels are: where a pixel has
            the class, it is its confidence. Near borders that follow the image's
            edges, another class may have more.

        Raises
        ------
        PromptError
            There is no such class.
        """
        channel = self.prompts.classes.index(self.prompts.by_name(name))
        assert self._source is not None  # only parts of very large images have none
        return self._source.heat_map(channel)

    def ranking(self, row: int, column: int) -> list[tuple[str, float]]:
        """Classes at one pixel and their probabilities, highest first, see `probabilities`.

        Parameters
        ----------
        row, column
            In pixels from the top left.

        Returns
        -------
        list
            (class name, probability in [0, 1]) pairs.

        Raises
        ------
        InputError
            There is no such pixel.
        """
        rows, columns = self.size
        if not (0 <= row < rows and 0 <= column < columns):
            msg = (
                f"there is no pixel at row {row}, column {column}: the image has {rows} rows and "
                f"{columns} columns, counted from 0"
            )
            raise InputError(msg)
        assert self._source is not None
        pairs = zip(self.prompts.names, self._source.at(row, column).tolist(), strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])

    def ignoring(self, missing: np.ndarray | None) -> Segmentation:
        """Return it with some pixels ignored: bool (H, W), or None for none."""
        if missing is None:
            return self
        ignored = self.labels.dtype.type(ignore_label(self.labels.dtype))
        return replace(self, labels=np.where(missing, ignored, self.labels))

    def pixel_counts(self) -> dict[int, int]:
        """Count the pixels of every class id, and of ignored pixels."""
        counts, _ = self._totals
        ids = [c.id for c in self.prompts.classes]
        return {label: int(counts[label].sum()) for label in [*ids, self.prompts.ignore]}

    def mean_confidence(self) -> dict[int, float | None]:
        """Mean confidence of the pixels of every class id; None for a class without pixels."""
        counts, sums = self._totals
        return {
            c.id: float(sums[c.id] / counts[c.id].sum()) if counts[c.id].any() else None
            for c in self.prompts.classes
        }

    def confidence_histogram(self) -> dict[int, tuple[int, ...]]:
        """Histogram of the confidence of every class id that has pixels.

        Returns
        -------
        dict
            For each class id, `HISTOGRAM_BINS` pixel counts in equal steps from 0 to 1.
        """
        counts, _ = self._totals
        ids = [c.id for c in self.prompts.classes]
        return {label: tuple(counts[label].tolist()) for label in ids if counts[label].any()}

    @cached_property
    def _totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels by label and bin, (L, HISTOGRAM_BINS), and the labels' summed confidence."""
        import torch  # whoever has labelled has loaded it; its `bincount` takes a third of the time

        number = ignore_label(self.labels.dtype) + 1
        by_value: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(FLOAT16_VALUES, np.int64))
        for top, left in product(*(range(0, length, TILE) for length in self.size)):
            tile = slice(top, top + TILE), slice(left, left + TILE)
            labels = self.labels[tile]
            numbers: np.ndarray = self.confidence[tile].view(np.int16)
            present = present_labels(labels)
            stop = len(present) * FLOAT16_VALUES
            if len(present) > 1:  # pairs of a label and the bits of a confidence are numbered
                first: np.ndarray = np.zeros(number, np.int16 if stop <= 2**15 else np.int32)
                first[present] = np.arange(0, stop, FLOAT16_VALUES)
                numbers = first.take(labels) + numbers
            found = torch.bincount(torch.from_numpy(numbers.ravel()), minlength=stop).numpy()
            for label, values in zip(present, found.reshape(-1, FLOAT16_VALUES), strict=True):
                by_value[label] += values
        counts = np.zeros((number, HISTOGRAM_BINS), np.int64)
        sums = np.zeros(number)
        for label, values in by_value.items():
            counts[label] = np.add.reduceat(values, _FIRST_OF_BIN)
            # exact in float64, so the order does not matter; a product of vectors would wake
            # BLAS's threads, which then keep a core busy for 20 ms
            sums[label] = (values * _VALUES).sum()
        return counts, sums
