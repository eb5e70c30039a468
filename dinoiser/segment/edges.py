"""Edges that follow the image: labels of patches, refined by the colours around them.

    probabilities --at cells--> which class wins --fit to colours--> which class wins
                                                 --fit, at pixels--> labels

A cell is a square of half a patch. Around each cell, the share of a class is a linear function of
colour, fitted by least squares within a window; each place takes the mean of the functions of all
windows that it is in. That is the guided filter (He, Sun and Tang, Guided Image Filtering, TPAMI
2013), with functions at cells and colours at pixels as in its fast version (He and Sun, Fast Guided
Filter, 2015). The first fit is to the probabilities, and each further one to the classes that won
the fit before: a blurred border hides how colours divide, a sharp one shows it.

Nothing depends on how an image is cut up. A cell depends only on cells at most `HALO` away, sums of
cells are exact (see `colour_fits.GRAIN`), and all else is computed value by value, but for the
columns of pixels on accelerators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from dinoiser.models.device import own_torch, to_device
from dinoiser.segment.block_labels import BlockLabels, values_at
from dinoiser.segment.canvas import Canvas
from dinoiser.segment.colour_fits import RADIUS, ColourFits, to_grain, window_sums
from dinoiser.segment.contest import Blocks, hold_contest
from dinoiser.segment.median import median_of_nine
from dinoiser.segment.probability_map import VALUES_ON_DEVICE, Tile, at_working_size
from dinoiser.segment.resize import to_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from dinoiser.segment.cells import CellGrid
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

    @property
    def device(self) -> torch.device:
        """See `PixelMap`."""
        return self.patches.device

    def decide(self, canvas: Canvas) -> None:
        """See `PixelMap`."""
        self._decide(canvas, lambda fit: fit.shares)

    @own_torch()
    def heat_map(self, channel: int) -> np.ndarray:
        """See `Probabilities`."""
        canvas = self._blank(Tile.whole(self.grid.size))
        self._decide(canvas, lambda fit: self._shares([channel], fit.cells))
        return canvas.arrays()[1]

    @own_torch()
    def at(self, row: int, column: int) -> np.ndarray:
        """See `Probabilities`."""
        pixel = Tile(slice(row, row + 1), slice(column, column + 1))
        canvas, fit = self._blank(pixel), self._fit(self.grid.cells(pixel))
        self._fill(canvas, fit, fit.shares)
        every = self._shares(list(range(self.patches.class_count)), fit.cells)
        shares = fit.spread(every, [fit.channels.index(int(canvas.labels))])
        return values_at(shares, *self._blocks(pixel, fit)).clamp(max=1).numpy()

    def _blank(self, tile: Tile) -> Canvas:
        """Make a canvas whose labels are channels."""
        channels = np.arange(self.patches.class_count, dtype=np.uint16)
        return Canvas.blank(tile, channels, self.device, np.float32)

    def _decide(self, canvas: Canvas, shares: Callable[[Fit], Tensor]) -> None:
        """Fill in a canvas piece by piece; the confidence is made of some shares."""
        for cells in self.grid.cells(canvas.within).cut(CELLS_AT_ONCE, CELLS_AT_ONCE):
            pixels = self.grid.pixels(cells).overlap(canvas.within)
            if not all(pixels.size):  # a small image may have cells without any
                continue
            fit = self._fit(cells)
            self._fill(canvas.part(pixels), fit, fit.spread(shares(fit)))

    # -- Cells

    def _fit(self, cells: Tile) -> Fit:
        near, kept = (cells.grow(by, self.grid.counts) for by in (HALO, 1 + AVERAGED))
        channels = self.patches.winners()
        shares = self._shares(channels, near)

        # Which class may be where: it wins there or close by
        region = _one_hot(shares)
        allowed = F.max_pool2d(region, 2 * REACH + 1, stride=1, padding=REACH) > 0
        found = [i for i, anywhere in enumerate(allowed.flatten(1).any(1).tolist()) if anywhere]
        channels = [channels[i] for i in found]
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
        colours = to_device(self.colours[:, *inside], self.device)
        return to_grain(colours.double())

    # -- Pixels

    def _fill(self, canvas: Canvas, fit: Fit, shares: Tensor) -> None:
        """Fill in the pixels of a fit's cells."""
        pixels = canvas.within
        if not self.patches.on_cpu:
            # all classes are compared in all pixels: to know more, the device would be waited for
            rows = max(1, VALUES_ON_DEVICE // (4 * len(fit.channels) * pixels.size[1]))
            for tile in pixels.cut(rows, pixels.size[1]):
                canvas.put(tile, fit.channels, *self._compare(fit, shares, tile))
            return
        around = pixels.grow(1, self.grid.size)
        image = self._pixels(around)
        margin = pixels.rows.start - around.rows.start, pixels.columns.start - around.columns.start
        contest = hold_contest(fit, *self._blocks(pixels, fit), image, margin)
        BlockLabels(fit, shares, contest, image, margin).fill(canvas)

    def _blocks(self, pixels: Tile, fit: Fit) -> tuple[Blocks, Blocks]:
        """Divide the rows and the columns of some pixels into blocks of a fit's cells."""
        rows, columns = (
            Blocks.along(self.grid, axis, places, fit.cells[axis].start)
            for axis, places in enumerate(pixels)
        )
        return rows, columns

    def _compare(self, fit: Fit, shares: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        """Return each pixel's class, by its place in the fit, and what that has of the shares."""
        rows, columns = (
            self.grid.cell_of_each(axis, places) - fit.cells[axis].start
            for axis, places in enumerate(tile)
        )
        allowed = fit.allowed[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        refused = torch.where(allowed, 0.0, -torch.inf)
        down, across = (to_device(cells - cells[0], self.device) for cells in (rows, columns))
        lines = self._lines(torch.cat([fit.functions, shares[:, None]], 1), fit, tile)
        values = lines.pixels(3).add_(refused.index_select(2, across).index_select(1, down))
        for channel, colour in enumerate(self._smoothed(tile)):
            values += lines.pixels(channel).mul_(colour)
        winner = values.max(0)[1]
        # patches changed by the background filter sum to more than 1, see `apply_background`
        return winner, lines.pixels(4).gather(0, winner[None])[0].clamp_(max=1)

    def _lines(self, maps: Tensor, fit: Fit, tile: Tile) -> Lines:
        """Interpolate the columns of maps (K, F, n, m) float64 of cells."""
        down, across = (self.grid.between(axis, places) for axis, places in enumerate(tile))
        used = maps[..., *Tile(down.cells, across.cells).inside(fit.cells)].float()
        lines = used @ across.weights.T.to(used)
        rise = lines.diff(dim=2, append=lines[:, :, -1:])
        before, share = (
            to_device(values, maps.device) for values in (down.before, down.share.float())
        )
        return Lines(lines, rise, before, share[:, None])

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
        repeated = to_device(to_torch(pixels).contiguous(), self.device)
        plane, line = repeated.stride()[:2]
        medians = median_of_nine(repeated.flatten(), line)
        return medians.as_strided((3, *tile.size), (plane, line, 1)).float().div_(255)

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

    def spread(self, shares: Tensor, of: Sequence[int] | slice = slice(None)) -> Tensor:
        """Spread a probability over the regions of the classes.

        Near borders, the probabilities of patches are a mixture of both sides.
        There, each class gets the mean of what its own side has.

        Parameters
        ----------
        shares
            (K, n, m), or (1, n, m) to spread one class over the regions of all.
        of
            The classes whose regions are used: as many as there are shares, or
            one for all of them.

        Returns
        -------
        Tensor
            (K, n, m): what a pixel of each class has if it lies in the cell.
        """
        region = self.region[of]
        counts = window_sums(region, AVERAGED)
        means = window_sums(shares * region, AVERAGED) / counts.clamp(min=1)
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

    def pixels(self, of: int) -> Tensor:
        """Interpolate the rows of one map of each class; return (K, rows, columns)."""
        # rows come last, as copies of whole lines are quick
        rise = self.rise[:, of].index_select(1, self.before).mul_(self.share)
        return rise.add_(self.values[:, of].index_select(1, self.before))


def support(grid: CellGrid, pixels: Tile) -> Tile:
    """Return the cells that decide about some pixels."""
    return grid.cells(pixels).grow(HALO, grid.counts)


def _one_hot(values: Tensor) -> Tensor:
    """Return 1 where a class (K, n, m) is the highest, else 0, as float64."""
    winner = values.max(0)[1]  # much faster than `argmax`
    return (winner == torch.arange(len(values), device=values.device)[:, None, None]).double()
