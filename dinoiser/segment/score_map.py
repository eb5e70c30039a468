"""From windows of patch scores to pixels, where classes are weighed after they are enlarged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from dinoiser.segment.interpolation import linear_weights, to_steps
from dinoiser.segment.probability_map import ProbabilityMap, Tile, cut_places

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ScoreMap(ProbabilityMap):
    """Scores of classes at patch resolution, which become probabilities at each window's pixels.

    Attributes
    ----------
    mosaic
        As in `ProbabilityMap`, but scores in [-1, 1].
    chosen
        The channels that are given; None for all. The others take their share
        of the probability.

    Notes
    -----
    A window's scores are enlarged to its pixels and a softmax over classes is
    taken there; the rest is as in `ProbabilityMap`. Windows are added in one
    order wherever a tile lies, and the mean is rounded to steps, so that what
    exponentials leave in the last bits is gone and the other sums are exact.
    """

    chosen: tuple[int, ...] | None = None

    def select(self, channels: list[int]) -> ScoreMap:
        """Return the map of some classes."""
        return replace(self, chosen=tuple(channels))

    def winners(self) -> list[int]:
        """All channels: patches alone do not tell which of them are the highest nowhere."""
        return list(range(len(self.mosaic)))

    def rows_at_once(self, columns: slice) -> int:
        """How high a tile over some columns may be, also while it has the working size."""
        sizes = zip(self.layout.working_size, self.layout.size, strict=True)
        growth = [max(1.0, working / length) for working, length in sizes]
        return max(1, int(super().rows_at_once(columns) / (growth[0] * growth[1])))

    def pixels(self, tile: Tile) -> Tensor:
        """Probabilities (K, rows, columns) float32 of one tile."""
        bands = cut_places(tile.rows, self.rows_at_once(tile.columns))
        return torch.cat([self._band(rows, tile.columns) for rows in bands], 1)

    def _band(self, rows: slice, columns: slice) -> Tensor:
        # Unlike in `ProbabilityMap`, the mean over windows has to be made at the working size:
        # a softmax lies between it and the patches.
        (places_down, down), (places_across, across) = (
            linear_weights(axis.working, axis.length, places)
            for axis, places in zip(self.axes, (rows, columns), strict=True)
        )
        mean = self._mean(places_down, places_across)
        mixed = to_steps(down.to(mean) @ mean)  # (K, rows, places across)
        return (mixed @ across.to(mean).T).float()

    def _mean(self, rows: slice, columns: slice) -> Tensor:
        """Mean over windows (K, rows, columns) float64, at places of the working size."""
        size = (rows.stop - rows.start, columns.stop - columns.start)
        channels = slice(None) if self.chosen is None else list(self.chosen)
        count = len(self.chosen or self.mosaic)
        total = self.mosaic.new_zeros((count, *size), dtype=torch.float64)
        visits = total.new_zeros(size)
        # Window by window, always from the top left: sums of exponentials depend on the order.
        across = list(self.axes[1].windows(columns))
        for down in self.axes[0].windows(rows):
            for right in across:
                patches = self.mosaic[:, down.patches, right.patches].double()
                mixed = to_steps(down.weights.to(patches) @ patches)
                scores = mixed @ right.weights.to(patches).T  # (K, places down, places across)
                # All classes take part in the softmax; only those that are asked for are kept.
                total[:, down.places, right.places] += scores.softmax(0)[channels]
                visits[down.places, right.places] += 1
        return to_steps(total / visits)
