"""Edges that follow the image: labels of patches, refined by the colours around them.

    probabilities --at cells--> which class wins --fit to colours--> which class wins
                                                 --fit, at pixels--> labels

A cell is a square of half a patch. Around each cell, the share of a class is a linear function of
colour, fitted by least squares within a window; each place takes the mean of the functions of all
windows that it is in. That is the guided filter (He, Sun and Tang, Guided Image Filtering, TPAMI
2013), with functions at cells and colours at pixels as in its fast version (He and Sun, Fast Guided
Filter, 2015). The first fit is to the probabilities, and each further one to the classes that won
the fit before: a blurred border hides how colours divide, a sharp one shows it.

Nothing depends on how an image is cut up. A cell depends only on cells at most `HALO` away, sums
are exact (see `colour_fits.GRAIN`), but for the columns of pixels on accelerators, and all else is
computed value by value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from dinoiser.segment.colour_fits import RADIUS, ColourFits, to_grain, window_sums
from dinoiser.segment.contest import Blocks, hold_contest
from dinoiser.segment.interpolation import number_type
from dinoiser.segment.probability_map import (
    VALUES_ON_DEVICE,
    Decision,
    Tile,
    at_working_size,
    highest,
)
from dinoiser.segment.resize import to_torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from dinoiser.segment.cells import CellGrid
    from dinoiser.segment.contest import Contest
    from dinoiser.segment.probability_map import ProbabilityMap

REACH = 3
"""How far a class may spread from where its probability is the highest, in cells."""
FITS = 2
"""Number of fits, the one at pixels included."""
AVERAGED = 2
"""How far the probabilities of a class are averaged along a border, in cells."""
HALO = REACH + 2 * RADIUS * FITS + 1
"""How far the support of a pixel reaches, in cells."""

CELLS_AT_ONCE = 256
"""Side, in cells, of the part of an image for which functions are fitted at a time."""
TILE_SIZE = 512, 256
"""(rows, columns) of a tile that is labelled at a time: small enough for the processor's cache, and
large enough that starting operations is little of the work."""


@dataclass(frozen=True)
class EdgeMap:
    """A probability map whose labels follow the edges of the image.

    Attributes
    ----------
    patches
        The map to refine.
    grid
        The cells of the image.
    colours
        (3, n, m) float32 in [0, 1], see `cell_colours`: of all cells, or of
        those that `support` names.
    image
        (rows, columns, 3) uint8 RGB: the image, or at least the pixels to label
        and one more on each side.
    first_cell, first_pixel
        (row, column) at which the colours and the image begin.
    """

    patches: ProbabilityMap
    grid: CellGrid
    colours: Tensor
    image: np.ndarray
    first_cell: tuple[int, int] = (0, 0)
    first_pixel: tuple[int, int] = (0, 0)

    def decide(self, within: Tile) -> Iterator[Decision]:
        """See `PixelMap`."""
        for fit, tiles in self._fits(within):
            shares = fit.spread(fit.shares)
            for tile, found in tiles:
                winner = self._winner(fit, tile, found)
                best = self._pick(shares, fit, tile, winner, found)
                yield Decision(tile, [fit.channels[i] for i in found], winner, best)

    def heat_map(self, channel: int) -> np.ndarray:
        """See `Probabilities`."""
        heat = np.empty(self.grid.size, np.float32)
        for fit, tiles in self._fits(Tile.whole(heat.shape)):
            shares = fit.spread(self._shares([channel], fit.cells))
            for tile, found in tiles:
                winner = self._winner(fit, tile, found)
                heat[tile] = self._pick(shares, fit, tile, winner, found).cpu().numpy()
        return heat

    def at(self, row: int, column: int) -> np.ndarray:
        """See `Probabilities`."""
        pixel = Tile(slice(row, row + 1), slice(column, column + 1))
        [(fit, [(_, found)])] = self._fits(pixel)
        winner = self._winner(fit, pixel, found)
        every = self._shares(list(range(self.patches.class_count)), fit.cells)
        picked = [self._pick(fit.spread(one[None]), fit, pixel, winner, found) for one in every]
        return torch.cat(picked).flatten().cpu().numpy()

    # -- Cells

    def _fits(self, within: Tile) -> Iterator[tuple[Fit, Iterator[tuple[Tile, list[int]]]]]:
        """Fit a part of the image piece by piece; yield each fit, and what `_cut` does for it."""
        for cells in self.grid.cells(within).cut(CELLS_AT_ONCE, CELLS_AT_ONCE):
            pixels = self.grid.pixels(cells).overlap(within)
            if all(pixels.size):  # a small image may have cells without any
                fit = self._fit(cells)
                yield fit, self._cut(pixels, fit)

    def _cut(self, pixels: Tile, fit: Fit) -> Iterator[tuple[Tile, list[int]]]:
        """Divide the pixels that a fit is for into tiles; yield each, and who may win there."""
        if not self.patches.on_cpu:  # a device would have to be waited for
            found, width = list(range(len(fit.channels))), pixels.size[1]
            for tile in pixels.cut(max(1, VALUES_ON_DEVICE // (4 * len(found) * width)), width):
                yield tile, found
            return
        contest = self._contest(pixels, fit)
        for tile in pixels.cut(*TILE_SIZE):
            yield tile, contest.inside(tile)

    def _contest(self, pixels: Tile, fit: Fit) -> Contest:
        rows, columns = (
            Blocks.along(self.grid, axis, places, fit.cells[axis].start)
            for axis, places in enumerate(pixels)
        )
        around = pixels.grow(1, self.grid.size)
        first_pixel = around.rows.start, around.columns.start
        return hold_contest(fit, rows, columns, self._pixels(around), first_pixel)

    def _fit(self, cells: Tile) -> Fit:
        near, kept = (cells.grow(by, self.grid.counts) for by in (HALO, 1 + AVERAGED))
        channels = self.patches.winners()
        shares = self._shares(channels, near)

        # Which class may be where: it wins there or close by
        region = _one_hot(shares)
        allowed = F.max_pool2d(region, 2 * REACH + 1, stride=1, padding=REACH) > 0
        found = torch.nonzero(allowed.any(2).any(1)).flatten()
        channels = [channels[i] for i in found.tolist()]
        shares, allowed, region = (values[found] for values in (shares, allowed, region))

        # From one fit to the next
        functions = shares.new_zeros((1, 4, 1, 1)).expand(1, -1, *shares.shape[1:])
        if len(channels) > 1:
            colours = ColourFits(self._colours(near))
            functions = colours.fit(shares)
            for _ in range(FITS - 1):
                values = colours.evaluate(functions)
                region = _one_hot(values.where(allowed, -torch.inf))
                functions = colours.fit(region)
        inside = kept.inside(near)
        fitted = (values[..., *inside] for values in (shares, allowed, region, functions))
        return Fit(kept, channels, *fitted)

    def _shares(self, channels: list[int], cells: Tile) -> Tensor:
        """Probabilities (K, rows, columns) float64 in the middle of cells."""
        middles, missing = [], []
        side = self.grid.side
        for places, length in zip(cells, self.grid.working_size, strict=True):
            first = min(places.start * side + side // 2, length - 1)
            middles.append(slice(first, min(places.stop * side, length), side))
            # a last cell that is cut off before its middle takes what the one before it has
            missing.append(places.stop - places.start - -(-(middles[-1].stop - first) // side))
        values = at_working_size(self.patches.select(channels)).pixels(Tile(*middles))
        return to_grain(F.pad(values, (0, missing[1], 0, missing[0]), mode="replicate").double())

    def _colours(self, cells: Tile) -> Tensor:
        """Colours (3, rows, columns) float64 of cells."""
        top, left = self.first_cell
        inside = cells.inside(Tile(slice(top, None), slice(left, None)))
        colours = self.colours[:, *inside].to(self.patches.mosaic.device)
        return to_grain(colours.double())

    # -- Pixels

    def _winner(self, fit: Fit, tile: Tile, found: list[int]) -> Tensor:
        """Return the class of each pixel, as an index into the list of those that may win here."""
        if len(found) == 1:
            return fit.allowed.new_zeros((), dtype=torch.int64).expand(tile.size)
        rows, columns = (
            self.grid.cell_of_each(axis, places) - fit.cells[axis].start
            for axis, places in enumerate(tile)
        )
        allowed = fit.allowed[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        refused = torch.where(allowed[found], 0.0, -torch.inf)
        down, across = ((cells - cells[0]).to(refused.device) for cells in (rows, columns))
        red, green, blue = self._smoothed(tile)
        functions = self._lines(fit.functions[found], fit, tile)
        values = red.new_empty(len(found), *red.shape)
        # on a CPU map by map, as numbers that are still in the processor's cache are quick
        on_cpu = self.patches.on_cpu
        parts = (
            all_of.split(1 if on_cpu else len(found)) for all_of in (functions, refused, values)
        )
        for some, not_here, into in zip(*parts, strict=True):
            torch.mul(some.pixels(0), red, out=into)
            into += some.pixels(1).mul_(green)
            into += some.pixels(2).mul_(blue)
            into += some.pixels(3)
            if not on_cpu or not_here.any():  # a device would have to be waited for
                into += not_here.index_select(2, across).index_select(1, down)
        return highest(values)[1]

    def _pick(
        self, shares: Tensor, fit: Fit, tile: Tile, winner: Tensor, found: list[int]
    ) -> Tensor:
        """Return what each pixel's class has (rows, columns) float32, in [0, 1]."""
        lines = self._lines(shares[found, None], fit, tile)
        if not self.patches.on_cpu:
            return lines.pixels(0).gather(0, winner[None])[0].clamp_(max=1)
        first, *others = (one.pixels(0)[0] for one in lines.split(1))
        for place, other in enumerate(others, start=1):
            first = other.where(winner == place, first)
        # patches changed by the background filter sum to more than 1, see `apply_background`
        return first.clamp_(max=1)

    def _lines(self, maps: Tensor, fit: Fit, tile: Tile) -> Lines:
        """Interpolate the columns of maps (K, F, n, m) float64 of cells."""
        down, across = (self.grid.between(axis, places) for axis, places in enumerate(tile))
        used = maps[..., *Tile(down.cells, across.cells).inside(fit.cells)]
        used = used.to(number_type(maps.device))
        lines = used @ across.weights.T.to(used)  # exact on a CPU
        rise = lines.diff(dim=2, append=lines[:, :, -1:])
        before, share = (values.to(maps.device) for values in (down.before, down.share.float()))
        return Lines(lines.float(), rise.float(), before, share[:, None])

    def _smoothed(self, tile: Tile) -> Tensor:
        """Colours (3, rows, columns) float32 in [0, 1], each the median of 3 x 3 pixels."""
        around = tile.grow(1, self.grid.size)
        pixels = self._pixels(around)
        # at the image's edge, its last pixels are repeated
        missing = [
            (1 - (wanted.start - there.start), 1 - (there.stop - wanted.stop))
            for wanted, there in zip(tile, around, strict=True)
        ]
        if np.any(missing):
            pixels = np.pad(pixels, [*missing, (0, 0)], "edge")
        repeated = to_torch(pixels).contiguous().to(self.patches.mosaic.device)
        return median_of_nine(repeated).float().div_(255)

    def _pixels(self, tile: Tile) -> np.ndarray:
        """Return the image's pixels (rows, columns, 3) uint8 of a tile."""
        top, left = self.first_pixel
        return self.image[tile.inside(Tile(slice(top, None), slice(left, None)))]


class Fit(NamedTuple):
    """What cells know about K classes.

    Attributes
    ----------
    cells
        The cells: n rows and m columns.
    channels
        The classes' channels in the map.
    shares
        (K, n, m) float64, the classes' probabilities.
    allowed
        (K, n, m) bool, whether the class may be there.
    region
        (K, n, m) float64, 1 where the class won the last fit at cells, else 0.
    functions
        (K, 4, n, m) float64: the factors of red, green and blue, and what is
        added to them.
    """

    cells: Tile
    channels: list[int]
    shares: Tensor
    allowed: Tensor
    region: Tensor
    functions: Tensor

    def spread(self, shares: Tensor) -> Tensor:
        """Spread a probability over the regions of the classes.

        Near borders, the probabilities of patches are a mixture of both sides.
        There, each class gets the mean of what its own side has.

        Parameters
        ----------
        shares
            (K, n, m), or (1, n, m) to spread one class over the regions of all.

        Returns
        -------
        Tensor
            (K, n, m): what a pixel of each class has if it lies in the cell.
        """
        counts = window_sums(self.region, AVERAGED)
        means = window_sums(shares * self.region, AVERAGED) / counts.clamp(min=1)
        alone = self.allowed.sum(0) == 1
        return to_grain(shares.where(alone | (counts == 0), means))


class Lines(NamedTuple):
    """Maps (K, F) at the columns of pixels, but still at the rows of cells.

    Attributes
    ----------
    values, rise
        (K, F, n, columns) float32: the values at a row of cells, and how much
        more there is at the next one.
    before, share
        (rows,) and (rows, 1) float32, see `Between`.
    """

    values: Tensor
    rise: Tensor
    before: Tensor
    share: Tensor

    def split(self, count: int) -> Iterator[Lines]:
        """Divide it into parts of at most some number of classes."""
        for values, rise in zip(self.values.split(count), self.rise.split(count), strict=True):
            yield Lines(values, rise, self.before, self.share)

    def pixels(self, of: int) -> Tensor:
        """Interpolate the rows of one map of each class; return (K, rows, columns)."""
        # One product and one sum of float32, each rounded by itself: the same in any tile. Rows
        # come last, as copies of whole lines are quick.
        rise = self.rise[:, of].index_select(1, self.before).mul_(self.share)
        return rise.add_(self.values[:, of].index_select(1, self.before))


def support(grid: CellGrid, pixels: Tile) -> Tile:
    """Return the cells that decide about some pixels."""
    return grid.cells(pixels).grow(HALO, grid.counts)


def median_of_nine(pixels: Tensor) -> Tensor:
    """Median of 3 x 3 pixels, from (..., rows + 2, columns + 2) to (..., rows, columns)."""
    # sort each column of three; of nine, the median is the median of the largest of the smallest,
    # the median of the middle ones, and the smallest of the largest
    above, here, below = pixels[..., :-2, :], pixels[..., 1:-1, :], pixels[..., 2:, :]
    low, high = torch.minimum(above, here), torch.maximum(above, here)
    middle, high = torch.minimum(high, below), torch.maximum(high, below)
    low, middle = torch.minimum(low, middle), torch.maximum(low, middle)
    lows, middles, highs = (
        (values[..., :-2], values[..., 1:-1], values[..., 2:]) for values in (low, middle, high)
    )
    largest = torch.maximum(torch.maximum(lows[0], lows[1]), lows[2])
    smallest = torch.minimum(torch.minimum(highs[0], highs[1]), highs[2])
    return _median_of_three(largest, _median_of_three(*middles), smallest)


def _median_of_three(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return torch.maximum(low, torch.minimum(high, third))


def _one_hot(values: Tensor) -> Tensor:
    """Return 1 where a class (K, n, m) is the highest, else 0, as float64."""
    winner = values.max(0)[1]  # much faster than `argmax`
    return (winner == torch.arange(len(values), device=values.device)[:, None, None]).double()
