"""The cells of an image: squares of half a patch, which know colours and classes for the edges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch.nn import functional as F

from dinoiser.segment.interpolation import to_steps
from dinoiser.segment.probability_map import Tile

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.segment.windows import WindowLayout

ROWS_AT_ONCE = 512
"""Rows of pixels that become colours of cells at a time."""

Places = TypeVar("Places", int, torch.Tensor)


@dataclass(frozen=True)
class CellGrid:
    """The cells of an image.

    Attributes
    ----------
    size, working_size
        (H, W) and (h, w), see `WindowLayout`.
    side
        Side of a cell, in pixels of the working size.
    """

    size: tuple[int, int]
    working_size: tuple[int, int]
    side: int

    @classmethod
    def over(cls, layout: WindowLayout, patch_size: int) -> CellGrid:
        """Lay cells of half a patch over an image."""
        return cls(layout.size, layout.working_size, max(1, patch_size // 2))

    @property
    def counts(self) -> tuple[int, int]:
        """Number of cells along rows and columns; the last ones may be cut off."""
        height, width = (-(-length // self.side) for length in self.working_size)
        return height, width

    def cells(self, pixels: Tile) -> Tile:
        """Return the cells in which the centres of some pixels are."""
        rows, columns = (
            slice(self.cell_of(axis, places.start), self.cell_of(axis, places.stop - 1) + 1)
            for axis, places in enumerate(pixels)
        )
        return Tile(rows, columns)

    def pixels(self, cells: Tile) -> Tile:
        """Return the pixels whose centres are in some cells."""
        rows, columns = (
            slice(self._first_pixel(axis, places.start), self._first_pixel(axis, places.stop))
            for axis, places in enumerate(cells)
        )
        return Tile(rows, columns)

    def cell_of_each(self, axis: int, pixels: slice) -> Tensor:
        """Index of the cell of each of some pixels along an axis."""
        return _cell_of_each(self, axis, pixels.start, pixels.stop)

    def between(self, axis: int, pixels: slice) -> Between:
        """Return between which cells some pixels of an axis are."""
        return _between(self, axis, pixels.start, pixels.stop)

    # The centre of pixel x is at (2 x + 1) / 2; these are in integers, which are exact.

    def cell_of(self, axis: int, pixel: Places) -> Places:
        """Index of the cell of a pixel along an axis."""
        return (2 * pixel + 1) * self.working_size[axis] // (2 * self.size[axis] * self.side)

    def _first_pixel(self, axis: int, cell: int) -> int:
        length, working = self.size[axis], self.working_size[axis]
        first = -((working - 2 * length * self.side * cell) // (2 * working))  # rounded up
        return min(max(first, 0), length)


@lru_cache(maxsize=512)  # tiles beside each other have the same rows, and images the same size
def _cell_of_each(grid: CellGrid, axis: int, start: int, stop: int) -> Tensor:
    return grid.cell_of(axis, torch.arange(start, stop))


class Between(NamedTuple):
    """Pixels along an axis, each of which lies between the centres of two cells.

    Attributes
    ----------
    cells
        All cells that the pixels lie between.
    before
        (pixels,) integers, which of them is the one before.
    share
        (pixels,) float64 in [0, 1), the share of the one after.
    weights
        (pixels, cells) float64, the shares of all.
    """

    cells: slice
    before: Tensor
    share: Tensor
    weights: Tensor


@lru_cache(maxsize=512)
def _between(grid: CellGrid, axis: int, start: int, stop: int) -> Between:
    scale = grid.working_size[axis] / grid.size[axis] / grid.side
    centres = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * scale - 0.5
    centres = to_steps(centres.clamp(0, grid.counts[axis] - 1))  # beyond them, nothing changes
    cells = slice(int(centres[0]), min(int(centres[-1]) + 2, grid.counts[axis]))
    distance = (centres[:, None] - torch.arange(cells.start, cells.stop)).abs()
    return Between(cells, centres.long() - cells.start, centres.frac(), (1 - distance).clamp(min=0))


def cell_colours(pixels: Tensor, side: int) -> Tensor:
    """Mean colours of cells.

    Parameters
    ----------
    pixels
        (3, h, w) uint8, at the working size, from the top of a cell on.
    side
        Side of a cell, in pixels.

    Returns
    -------
    Tensor
        (3, n, m) float32 in [0, 1].
    """
    rows = max(1, ROWS_AT_ONCE // side) * side
    # sums of pixels are exact in float32, so it does not matter where the rows are cut
    means = [
        F.avg_pool2d(some.float(), side, ceil_mode=True, count_include_pad=False)
        for some in pixels.split(rows, 1)
    ]
    return torch.cat(means, 1) / 255
