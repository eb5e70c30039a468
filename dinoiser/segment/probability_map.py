"""From windows of patch probabilities to pixels, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dinoiser.models.device import own_torch
from dinoiser.segment.interpolation import (
    along_columns,
    corner_weights,
    cubic_weights,
    linear_weights,
    number_type,
    to_steps,
)
from dinoiser.segmentation import Probabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dinoiser.segment.canvas import Canvas
    from dinoiser.segment.windows import Spans, WindowLayout

VALUES_AT_ONCE = 2**20
"""Number of probabilities in a tile, 8 MB in float64; larger tiles are no faster."""
TILE_WIDTH = 512
VALUES_ON_DEVICE = 2**24
"""The same on an accelerator, 64 MB in float32: enough that a kernel takes longer than to start it,
and little enough for the images of many threads at a time. Tiles there are as wide as the image."""

ROUNDING = 1e-6
"""What rounding to steps and to float32 can change in a probability, with some to spare."""

Spread = Literal["stretched", "corners", "cubic"]


class Tile(NamedTuple):
    """A rectangle of an image, as slices of rows and columns."""

    rows: slice
    columns: slice

    @classmethod
    def whole(cls, size: Sequence[int]) -> Tile:
        """Return the tile that is all of an image of size (H, W)."""
        return cls(slice(0, size[0]), slice(0, size[1]))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns, in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def inside(self, other: Tile) -> Tile:
        """Return the tile relative to the corner of another."""
        top, left = other.rows.start, other.columns.start
        return Tile(
            slice(self.rows.start - top, self.rows.stop - top),
            slice(self.columns.start - left, self.columns.stop - left),
        )

    def overlap(self, other: Tile) -> Tile:
        """Return what both tiles have in common."""
        rows, columns = (
            slice(max(one.start, two.start), min(one.stop, two.stop))
            for one, two in zip(self, other, strict=True)
        )
        return Tile(rows, columns)

    def grow(self, by: int, size: Sequence[int]) -> Tile:
        """Add places on all sides, as far as there are any in an image of size (H, W)."""
        rows, columns = (
            slice(max(places.start - by, 0), min(places.stop + by, length))
            for places, length in zip(self, size, strict=True)
        )
        return Tile(rows, columns)

    def cut(self, height: int, width: int) -> Iterator[Tile]:
        """Divide it into tiles of at most a size, from left to right and top to bottom."""
        across = cut_places(self.columns, width)
        for rows in cut_places(self.rows, height):
            for columns in across:
                yield Tile(rows, columns)


class PixelMap(Probabilities, Protocol):
    """An image's pixels as they are labelled: what any refinement of patches returns."""

    @property
    def device(self) -> torch.device:
        """Where it is."""

    def decide(self, canvas: Canvas) -> None:
        """Find the class of every pixel of a part of the image, and fill it in."""


@dataclass(frozen=True)
class ProbabilityMap:
    """Class probabilities of one image at patch resolution.

    Attributes
    ----------
    mosaic
        (K, h, w) float32, multiples of `interpolation.STEP`: the patches of
        all windows, arranged side by side like the windows; where windows
        overlap, both are included.
    layout
        The positions of the windows.
    patch_size
        Side of a patch in pixels if a window's patches cover it with padding
        at the right and bottom, which is cut off (the published demo); None if
        they are stretched over the window (the published evaluation). The two
        agree for multiples of the patch.
    spread
        How patches lie over a window, see `Scoring`.

    Notes
    -----
    Windows are interpolated bilinearly to pixels (`align_corners=False`), the
    plain mean is taken where they overlap, and that map is interpolated to the
    image's size. All three steps are linear and separate along rows and
    columns: a tile is `down @ mosaic @ across`, without intermediate maps. Both
    products are exact on a CPU, see `interpolation`, so a pixel is the same in
    any tile, even if the mosaic contains only the tile's own windows.
    """

    mosaic: Tensor
    layout: WindowLayout
    patch_size: int | None = None
    spread: Spread = "stretched"

    @classmethod
    def from_windows(
        cls,
        patches: Tensor,
        layout: WindowLayout,
        patch_size: int | None = None,
        spread: Spread = "stretched",
    ) -> ProbabilityMap:
        """Make the map from the patches (n, K, h, w) of `layout.windows`."""
        blocks = layout.blocks
        counts = [len(block.rows) * len(block.columns) for row in blocks for block in row]
        pieces = iter(patches.split(counts))
        grid = [[_lay_out(next(pieces), block) for block in row] for row in blocks]
        return cls.join(grid, layout, patch_size, spread)

    @classmethod
    def join(
        cls,
        mosaics: list[list[Tensor]],
        layout: WindowLayout,
        patch_size: int | None = None,
        spread: Spread = "stretched",
    ) -> ProbabilityMap:
        """Make the map from the mosaics (K, h, w) of neighbouring blocks."""
        mosaic = torch.cat([torch.cat(row, 2) for row in mosaics], 1)  # along columns, then rows
        return cls(mosaic, layout, patch_size, spread)

    @staticmethod
    def of_pixels(pixels: Tensor, layout: WindowLayout) -> ProbabilityMap:
        """Make the map from values (K, h, w) of the pixels of the image or of its working size."""
        height, width = pixels.shape[-2:]
        # a single window, in which every pixel is a patch
        rows, columns = ((0, height),), ((0, width),)
        alone = replace(layout, working_size=(height, width), rows=rows, columns=columns)
        return ProbabilityMap.from_windows(pixels[None], alone)

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return len(self.mosaic)

    def to_refine(self) -> ProbabilityMap:
        """Return the map whose pixels PAMR refines: probabilities at the working size."""
        return at_working_size(self)

    def with_pixels(self, refined: Tensor) -> ProbabilityMap:
        """Return the map that has refined values for the pixels of `to_refine`."""
        return self.of_pixels(refined, self.layout)

    def select(self, channels: list[int]) -> ProbabilityMap:
        """Return the map of some classes only."""
        return replace(self, mosaic=self.mosaic[channels])

    def winners(self, tile: Tile | None = None) -> list[int]:
        """Return the channels that can be the highest somewhere in the image, or in a tile.

        A pixel is a weighted mean of patches. So a class that another one is
        above in every patch wins nowhere. Probabilities of a patch sum to at
        least S, which is 1 after a softmax, and the winner of a pixel has at
        least S / K: a class that stays below that in every patch wins nowhere
        either.
        """
        patches = self.mosaic
        if tile is not None:
            rows, columns = (
                axis.weights(places)[0] for axis, places in zip(self.axes, tile, strict=True)
            )
            patches = patches[:, rows, columns]
        best = patches.index_select(0, patches.mean((1, 2)).argmax()[None])
        least = patches.sum(0).min() / len(patches)
        can_win = (patches >= best - ROUNDING).flatten(1).any(1)
        can_win &= patches.amax((1, 2)) >= least - ROUNDING
        return [channel for channel, can in enumerate(can_win.tolist()) if can]

    def decide(self, canvas: Canvas) -> None:
        """See `PixelMap`."""
        everywhere = self.winners()
        for tile in self.select(everywhere).cut(canvas.within):
            # a device would have to be waited for
            channels = self.winners(tile) if self.on_cpu else everywhere
            best, winner = highest(self.select(channels).pixels(tile))
            # patches changed by the background filter sum to more than 1, see `apply_background`
            canvas.put(tile, channels, winner, best.clamp_(max=1))

    def tiles(self) -> Iterator[tuple[Tile, Tensor]]:
        """Give the image's tiles in reading order, with their probabilities (K, rows, columns)."""
        for tile in self.cut(Tile.whole(self.layout.size)):
            yield tile, self.pixels(tile)

    def cut(self, within: Tile) -> Iterator[Tile]:
        """Divide a part of the image into tiles, see `VALUES_AT_ONCE`."""
        width = TILE_WIDTH if self.on_cpu else within.size[1]
        height = self.rows_at_once(cut_places(within.columns, width)[0])
        return within.cut(height, width)

    def rows_at_once(self, columns: slice) -> int:
        """Return the height of a tile over some columns, see `VALUES_AT_ONCE`."""
        values = VALUES_AT_ONCE if self.on_cpu else VALUES_ON_DEVICE
        return max(1, values // (len(self.mosaic) * (columns.stop - columns.start)))

    def pixels(self, tile: Tile) -> Tensor:
        """Probabilities (K, rows, columns) float32 of one tile, or of every n-th place in it."""
        (rows, down), (columns, across) = (
            axis.weights(places) for axis, places in zip(self.axes, tile, strict=True)
        )
        # (K, patches down, patches across)
        patches = self.mosaic[:, rows, columns].to(number_type(self.mosaic.device))
        mixed = to_steps(down.to(patches) @ patches)  # (K, rows, patches across)
        return along_columns(mixed, across.to(patches))

    @own_torch()
    def at(self, row: int, column: int) -> np.ndarray:
        """See `Probabilities`."""
        pixel = Tile(slice(row, row + 1), slice(column, column + 1))
        return self.pixels(pixel).clamp(max=1).flatten().cpu().numpy()

    @own_torch()
    def heat_map(self, channel: int) -> np.ndarray:
        """See `Probabilities`."""
        heat = np.empty(self.layout.size, np.float32)
        for tile, pixels in self.select([channel]).tiles():
            heat[tile] = pixels[0].clamp(max=1).cpu().numpy()
        return heat

    @property
    def device(self) -> torch.device:
        """See `PixelMap`."""
        return self.mosaic.device

    @property
    def on_cpu(self) -> bool:
        """Whether it lies in the CPU's memory, and not on a device that would be waited for."""
        return self.device.type == "cpu"

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """The rows and the columns, as they are mixed from patches."""
        return self._axis(0, self.layout.rows), self._axis(1, self.layout.columns)

    def _axis(self, axis: int, spans: Spans) -> Axis:
        length, working = self.layout.size[axis], self.layout.working_size[axis]
        patches = self.mosaic.shape[1 + axis] // len(spans)
        return Axis(length, working, spans, patches, self.patch_size, self.spread)


class Share(NamedTuple):
    """The share of a window in some places of an axis.

    Attributes
    ----------
    places
        The places that lie in the window.
    patches
        The mosaic's patches from which they are made.
    weights
        (places, patches) float64; rows sum to 1.
    """

    places: slice
    patches: slice
    weights: Tensor


@dataclass(frozen=True)
class Axis:
    """One axis of an image, with the mixing of its pixels from patches.

    Attributes
    ----------
    length, working
        Number of pixels of the image, and of its working size.
    spans
        (start, end) of the windows, in pixels of the working size.
    patches
        Number of patches in one window.
    patch_size, spread
        See `ProbabilityMap`.
    """

    length: int
    working: int
    spans: Spans
    patches: int
    patch_size: int | None
    spread: Spread

    def weights(self, pixels: slice) -> tuple[slice, Tensor]:
        """Return the mosaic's patches from which some pixels are made, and their weights.

        Returns
        -------
        patches, weights
            A slice of the mosaic's axis, and (pixels, patches) float64 with rows
            that sum to 1.
        """
        return _weights(self, pixels.start, pixels.stop, pixels.step or 1)

    def working_weights(self, places: slice) -> Tensor:
        """Return the weights (places, all patches) of patches in pixels of the working size."""
        # each window has its own columns, as the mosaic repeats what overlapping windows share
        count = places.stop - places.start
        shares = torch.zeros(count, len(self.spans) * self.patches, dtype=torch.float64)
        for some, patches, window in self.windows(places):
            shares[some, patches] = window
        return to_steps(shares / shares.sum(1, keepdim=True))  # the mean over windows at a place

    def windows(self, places: slice) -> Iterator[Share]:
        """Yield the share of each window in some places of the working size."""
        for i, (first, end) in enumerate(self.spans):
            top, bottom = max(first, places.start), min(end, places.stop)
            if top < bottom:
                # relative to the window, then along the whole axis of the mosaic
                used, weights = self._window_weights(
                    end - first, slice(top - first, bottom - first)
                )
                mine = slice(i * self.patches + used.start, i * self.patches + used.stop)
                yield Share(slice(top - places.start, bottom - places.start), mine, weights)

    def _window_weights(self, length: int, inside: slice) -> tuple[slice, Tensor]:
        """Return patches of a window of `length` pixels, and their weights in some of these."""
        if self.spread == "corners":
            return slice(0, self.patches), corner_weights(self.patches, length, inside)
        if self.spread == "cubic":
            return cubic_weights(self.patches, length, inside)
        # padded windows are covered by whole patches, the last of which extend over the edge
        covered = self.patches * self.patch_size if self.patch_size else length
        return linear_weights(self.patches, covered, inside)


@lru_cache(maxsize=512)  # for all tiles of large images; those of a folder often have the same size
def _weights(axis: Axis, start: int, stop: int, step: int) -> tuple[slice, Tensor]:
    # pixels of the image <- places of the working size <- patches
    places, resized = linear_weights(axis.working, axis.length, slice(start, stop, step))
    mixed = to_steps(resized @ axis.working_weights(places))  # (pixels, all patches of the axis)
    # most patches are too far away to contribute
    used = mixed.any(0).nonzero()
    some = slice(int(used[0]), int(used[-1]) + 1)
    return some, mixed[:, some].clone()  # a view would keep all columns


def _lay_out(patches: Tensor, block: WindowLayout) -> Tensor:
    """Arrange the patches (n, K, h, w) of a block's windows as a mosaic (K, rows, columns)."""
    # from: windows, K, patches down, patches across
    grid = patches.unflatten(0, (len(block.rows), len(block.columns)))
    # to: K, windows down, patches down, windows across, patches across; then joined in pairs
    mosaic = grid.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
    return to_steps(mosaic)


def highest(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest of values (K, rows, columns), and which it is: the first of equals."""
    if len(values) == 1:
        return values[0], values.new_zeros((), dtype=torch.int64).expand(values.shape[1:])
    if values.device.type != "cpu":
        return values.max(0)
    # one by one, which takes a fifth of the time
    first, second, *others = values
    best, winner = torch.maximum(first, second), (second > first).long()
    for place, other in enumerate(others, start=2):
        winner.masked_fill_(other > best, place)
        torch.maximum(best, other, out=best)
    return best, winner


def at_working_size(probabilities: ProbabilityMap) -> ProbabilityMap:
    """Return a map whose pixels are those of the working size."""
    layout = probabilities.layout
    return replace(probabilities, layout=replace(layout, size=layout.working_size))


def cut_places(places: slice, length: int) -> list[slice]:
    """Divide a range of places into pieces of at most `length`, or of one place."""
    stop, step = places.stop, places.step or 1
    length = max(1, length // step) * step
    starts = range(places.start, stop, length)
    return [slice(start, min(start + length, stop), step) for start in starts]
