"""From windows of patch probabilities to pixels, a tile at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dinoiser.segment.windows import WindowLayout

VALUES_AT_ONCE = 2**21
"""Probabilities of a tile, 8 MB of float32: larger tiles are no quicker."""
TILE_WIDTH = 1024


class Tile(NamedTuple):
    """A rectangle of a picture, as slices of rows and columns."""

    rows: slice
    columns: slice


@dataclass(frozen=True)
class ProbabilityMap:
    """Class probabilities of one picture, kept at patch resolution.

    Attributes
    ----------
    mosaic
        (K, h, w) float32: the patches of all windows, side by side as the
        windows lie, overlapping parts repeated.
    layout
        Where the windows lie.
    patch_size
        Side of a patch in pixels where a window's patches cover it with
        padding at the right and bottom, which is cut off (the published demo);
        None where they are stretched over the window (the published
        evaluation). The two agree on multiples of the patch.

    Notes
    -----
    Windows are interpolated bilinearly to pixels (`align_corners=False`), the
    plain mean is taken where they overlap, and that map is interpolated to
    the picture's size. All three are linear, and along rows and columns apart:
    a tile is `down @ mosaic @ across`, and nothing else is ever made.
    """

    mosaic: Tensor
    layout: WindowLayout
    patch_size: int | None = None

    @classmethod
    def from_windows(
        cls, patches: Tensor, layout: WindowLayout, patch_size: int | None = None
    ) -> ProbabilityMap:
        """Lay out the patches (n, K, h, w) of `layout.windows`."""
        grid = patches.unflatten(0, (len(layout.rows), len(layout.columns)))
        mosaic = grid.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)  # to: K, rows, columns
        return cls(mosaic, layout, patch_size)

    def select(self, channels: list[int]) -> ProbabilityMap:
        """Return the map of some classes."""
        return replace(self, mosaic=self.mosaic[channels])

    def winners(self) -> list[int]:
        """Channels that can be the highest somewhere.

        A pixel is a weighted mean of patches, whose probabilities sum to at
        least 1: its winner has at least 1 / K, so a class that stays below
        that in every patch wins nowhere.
        """
        threshold = 1 / len(self.mosaic) - 1e-6
        return torch.nonzero(self.mosaic.amax((1, 2)) >= threshold).flatten().tolist()

    def tiles(self, height: int | None = None) -> Iterator[tuple[Tile, Tensor]]:
        """Go through the picture, left to right and top to bottom.

        Parameters
        ----------
        height
            Rows of a tile; None fits them to `VALUES_AT_ONCE`.

        Yields
        ------
        tile, probabilities
            A place and its probabilities (K, rows, columns).
        """
        full_height, full_width = self.layout.size
        columns = _cut(full_width, TILE_WIDTH)
        width = columns[0].stop
        height = height or max(1, VALUES_AT_ONCE // (len(self.mosaic) * width))
        for rows in _cut(full_height, height):
            for some in columns:
                yield Tile(rows, some), self.pixels(Tile(rows, some))

    def pixels(self, tile: Tile) -> Tensor:
        """Probabilities (K, rows, columns) of one tile."""
        some_rows, row_weights = self._down.weights(tile.rows)
        some_columns, column_weights = self._across.weights(tile.columns)
        patches = self.mosaic[:, some_rows, some_columns]
        return row_weights.to(patches) @ patches @ column_weights.to(patches).T

    @cached_property
    def _down(self) -> _Axis:
        return self._axis(0, self.layout.rows)

    @cached_property
    def _across(self) -> _Axis:
        return self._axis(1, self.layout.columns)

    def _axis(self, axis: int, spans: tuple[tuple[int, int], ...]) -> _Axis:
        length, working = self.layout.size[axis], self.layout.working_size[axis]
        patches = self.mosaic.shape[1 + axis] // len(spans)
        return _Axis(length, working, spans, patches, self.patch_size)


@dataclass(frozen=True)
class _Axis:
    """One axis of a picture: how its pixels are mixed from patches.

    Attributes
    ----------
    length, working
        Pixels of the picture and of its working size.
    spans
        (start, end) of the windows, in pixels of the working size.
    patches
        Patches of one window.
    patch_size
        See `ProbabilityMap`.
    """

    length: int
    working: int
    spans: tuple[tuple[int, int], ...]
    patches: int
    patch_size: int | None

    def weights(self, pixels: slice) -> tuple[slice, Tensor]:
        """Which patches of the mosaic some pixels are made of, and their shares.

        Returns
        -------
        patches, weights
            A slice of the mosaic's axis, and (pixels, patches) float64, rows
            sum to 1.
        """
        resized = _interpolation(self.working, self.length, pixels)
        used = resized.any(0).nonzero()
        start, stop = int(used[0]), int(used[-1]) + 1
        mixed = resized[:, start:stop] @ self._working_weights(start, stop)
        used = mixed.any(0).nonzero()
        some = slice(int(used[0]), int(used[-1]) + 1)
        return some, mixed[:, some]

    def _working_weights(self, start: int, stop: int) -> Tensor:
        """Shares (stop - start, all patches) of patches in pixels of the working size."""
        shares = torch.zeros(stop - start, len(self.spans) * self.patches, dtype=torch.float64)
        for i, (first, end) in enumerate(self.spans):
            top, bottom = max(first, start), min(end, stop)
            if top < bottom:
                spread = self.patches * self.patch_size if self.patch_size else end - first
                window = _interpolation(self.patches, spread, slice(top - first, bottom - first))
                mine = slice(i * self.patches, (i + 1) * self.patches)
                shares[top - start : bottom - start, mine] = window
        return shares / shares.sum(1, keepdim=True)  # the mean over the windows at a place


def _interpolation(length: int, new_length: int, places: slice) -> Tensor:
    """Matrix (places, length) float64 that interpolates linearly between pixel centres."""
    count = places.stop - places.start
    center = torch.arange(places.start, places.stop, dtype=torch.float64) + 0.5
    center = (center * length / new_length - 0.5).clamp(min=0)
    lower = center.long().clamp(max=length - 1)
    upper = (lower + 1).clamp(max=length - 1)
    matrix = torch.zeros(count, length, dtype=torch.float64)
    row = torch.arange(count)
    matrix[row, lower] += 1 - (center - lower)
    matrix[row, upper] += center - lower
    return matrix


def _cut(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
