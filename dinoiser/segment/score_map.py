"""From windows of patch scores to pixels, with the softmax taken at pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch

from dinoiser.segment.interpolation import linear_weights, number_type, to_steps
from dinoiser.segment.probability_map import ProbabilityMap, Tile, cut_places

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SoftmaxMap(ProbabilityMap):
    """A map whose patches become probabilities by a softmax, at pixels.

    Attributes
    ----------
    chosen
        The classes to return; None for all. The others still take part in the
        softmax.
    """

    chosen: tuple[int, ...] | None = None

    def select(self, channels: list[int]) -> Self:
        """Return the map of some classes only."""
        return replace(self, chosen=tuple(channels))

    def winners(self, tile: Tile | None = None) -> list[int]:
        """Return all classes, as patches alone do not tell which can be the highest."""
        return list(range(self.class_count))

    def _choose(self, probabilities: Tensor) -> Tensor:
        return probabilities if self.chosen is None else probabilities[list(self.chosen)]


@dataclass(frozen=True)
class ScoreMap(SoftmaxMap):
    """Scores of classes at patch resolution, turned into probabilities at each window's pixels.

    Attributes
    ----------
    mosaic
        See `ProbabilityMap`, but with scores in [-1, 1].
    sharpness
        See `Scoring`.

    Notes
    -----
    A window's scores are interpolated to its pixels, where a softmax over
    classes is taken; the rest is as in `ProbabilityMap`. Windows are added in
    the same order for every tile, and the mean is rounded to steps. This removes
    what exponentials leave in the last bits, and makes the other sums exact.
    """

    sharpness: float = 1.0

    def rows_at_once(self, columns: slice) -> int:
        """Return the height of a tile over some columns, considering its working size too."""
        sizes = zip(self.layout.working_size, self.layout.size, strict=True)
        growth = [max(1.0, working / length) for working, length in sizes]
        return max(1, int(super().rows_at_once(columns) / (growth[0] * growth[1])))

    def pixels(self, tile: Tile) -> Tensor:
        """Probabilities (K, rows, columns) float32 of one tile."""
        bands = cut_places(tile.rows, self.rows_at_once(tile.columns))
        probabilities = torch.cat([self._band(rows, tile.columns) for rows in bands], 1)
        if self.sharpness != 1:  # of one window, it is the softmax of sharper scores
            sharper = (self.sharpness * probabilities.log()).softmax(0)
            probabilities = to_steps(sharper)  # rounded, since exponentials differ, see above
        return self._choose(probabilities.float())

    def _band(self, rows: slice, columns: slice) -> Tensor:
        # unlike in `ProbabilityMap`, the mean over windows must be computed at the working size, as
        # a softmax comes between it and the patches
        (places_down, down), (places_across, across) = (
            linear_weights(axis.working, axis.length, places)
            for axis, places in zip(self.axes, (rows, columns), strict=True)
        )
        mean = self._mean(places_down, places_across)
        mixed = to_steps(down.to(mean) @ mean)  # (K, rows, places across)
        return mixed @ across.to(mean).T

    def _mean(self, rows: slice, columns: slice) -> Tensor:
        """Mean over windows (K, rows, columns) at places of the working size."""
        dtype = number_type(self.mosaic.device)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        total = self.mosaic.new_zeros((len(self.mosaic), *size), dtype=dtype)
        visits = total.new_zeros(size)
        # window by window, always from the top left, as sums of exponentials depend on the order
        across = list(self.axes[1].windows(columns))
        for down in self.axes[0].windows(rows):
            for right in across:
                patches = self.mosaic[:, down.patches, right.patches].to(dtype)
                mixed = to_steps(down.weights.to(patches) @ patches)
                scores = mixed @ right.weights.to(patches).T  # (K, places down, places across)
                total[:, down.places, right.places] += scores.softmax(0)
                visits[down.places, right.places] += 1
        return to_steps(total / visits)
