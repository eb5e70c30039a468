"""Which classes can win between cells, given the colours that are there.

A block is the pixels between the centres of the same four cells. There, a class's function of
colour is a mean of the four cells' functions. So if one class is above another at all four, for any
colour between the block's lowest and highest, the other wins none of its pixels, and its values
need not be computed.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.segment.cells import CellGrid
    from dinoiser.segment.edges import Fit

ROUNDING = 2.0**-20
"""What a value computed in float32 may be wrong by, relative to its function's absolute values."""


class Blocks(NamedTuple):
    """The blocks along an axis of a part of an image; pixels are counted from its first.

    Attributes
    ----------
    starts
        (n + 1,), the first pixel of each, and where the last one ends.
    before, after
        (n,), the cells that they lie between, counted from some cell. Outside
        the centres of an image's first and last cell, both are that cell.
    share
        (pixels,) float32 in [0, 1), the share of the cell after.
    own
        (pixels,), the cell in which a pixel is.
    """

    starts: np.ndarray
    before: np.ndarray
    after: np.ndarray
    share: Tensor
    own: np.ndarray

    @classmethod
    def along(cls, grid: CellGrid, axis: int, pixels: slice, first_cell: int) -> Blocks:
        """Divide pixels of an axis into blocks; count cells from `first_cell`."""
        between = grid.between(axis, pixels)
        before, starts = np.unique(between.before.numpy(), return_index=True)
        before += between.cells.start
        after = np.minimum(before + 1, grid.counts[axis] - 1)
        starts = np.append(starts, pixels.stop - pixels.start)
        own = grid.cell_of_each(axis, pixels).numpy() - first_cell
        return cls(starts, before - first_cell, after - first_cell, between.share.float(), own)

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells before and after."""
        return self.before, self.after

    @property
    def lengths(self) -> np.ndarray:
        """Number of pixels of each."""
        return np.diff(self.starts)

    @property
    def places(self) -> list[slice]:
        """The pixels of each."""
        return [slice(*ends) for ends in pairwise(self.starts.tolist())]

    def around(self, margin: int) -> list[slice]:
        """Return the pixels of each and one more on each side, where `margin` are before all."""
        return [
            slice(max(0, places.start + margin - 1), places.stop + margin + 1)
            for places in self.places
        ]


class Contest(NamedTuple):
    """Which classes can win in the blocks of a part of an image.

    Attributes
    ----------
    rows, columns
        n and m blocks.
    can_win
        (K, n, m) bool.
    """

    rows: Blocks
    columns: Blocks
    can_win: np.ndarray


def hold_contest(
    fit: Fit, rows: Blocks, columns: Blocks, image: np.ndarray, margin: tuple[int, int]
) -> Contest:
    """Find out which classes can win where.

    Parameters
    ----------
    fit
        What is known about the classes at cells.
    rows, columns
        Blocks, with cells counted from the first one of the fit.
    image
        (rows, columns, 3) uint8, the blocks' pixels and one more on each side,
        as far as the image has any.
    margin
        (rows, columns) that it has before the blocks' first pixel: 1, or 0 at
        the image's edge.
    """
    allowed, functions = fit.allowed.numpy(), fit.functions.numpy()
    corners = list(product((rows.before, rows.after), (columns.before, columns.after)))
    at_corners = [allowed[:, down[:, None], across] for down, across in corners]
    can_win = np.logical_or.reduce(at_corners)
    contested = can_win.sum(0) > 1
    if not contested.any():
        return Contest(rows, columns, can_win)
    above, before = margin
    low, high = _colour_range(image, rows.around(above), columns.around(before), contested)

    # P pairs of a class and a block, with their functions (P, 4, 4) at the corners
    pairs = k, i, j = np.nonzero(can_win & contested)
    by_cell = np.ascontiguousarray(functions.transpose(0, 2, 3, 1))
    mine = np.stack([by_cell[k, down[i], across[j]] for down, across in corners], 1)
    middle, reach = (values[i, j, :, None] for values in ((high + low) / 2, (high - low) / 2))
    values = (mine[..., :3] @ middle)[..., 0] + mine[..., 3]

    # The best of the classes that all pixels of the block may have
    everywhere = np.logical_and.reduce(at_corners)
    means = np.full(can_win.shape, -np.inf)
    means[pairs] = np.where(everywhere[pairs], values.mean(1), -np.inf)
    number = np.zeros(can_win.shape, np.intp)
    number[pairs] = np.arange(len(k))
    first = number[means.argmax(0)[i, j], i, j]

    # By how much it is ahead, at least: in some corner, at a most extreme colour
    ahead = mine[first] - mine
    least = values[first] - values - (np.abs(ahead[..., :3]) @ reach)[..., 0]
    size = np.abs(mine).sum(2)
    beaten = least.min(1) > ROUNDING * (size + size[first]).max(1)
    can_win[pairs] = ~(beaten & everywhere.any(0)[i, j])
    return Contest(rows, columns, can_win)


def _colour_range(
    image: np.ndarray, rows: list[slice], columns: list[slice], wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the highest colours (n, m, 3) of blocks, in [0, 1].

    Rows of blocks in which none is wanted get others.
    """
    width = image.shape[1]
    lowest, highest = np.zeros((2, len(rows), 3, width + 1), np.uint8)
    for i in np.flatnonzero(wanted.any(1)):
        pixels = image[rows[i]]
        lowest[i, :, :width], highest[i, :, :width] = pixels.min(0).T, pixels.max(0).T
    # from each start to its stop; what is between a stop and the next start is not used
    ends = np.array([(places.start, min(places.stop, width)) for places in columns]).ravel()
    low, high = (
        of.reduceat(lines, ends, 2)[..., ::2].transpose(0, 2, 1) / 255
        for of, lines in ((np.minimum, lowest), (np.maximum, highest))
    )
    return low, high
