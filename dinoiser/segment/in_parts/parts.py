"""The work behind a lazy segmentation: blocks of windows, and the parts of the image on them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from dask.utils import SerializableLock

from dinoiser.errors import SettingsError
from dinoiser.segment.in_parts.chunks import ChunkGrid
from dinoiser.segment.interpolation import source
from dinoiser.segment.probability_map import Tile
from dinoiser.segment.resize import resize_columns, resize_rows
from dinoiser.segment.windows import WindowLayout

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.prompts import PromptSet
    from dinoiser.segment.segmenter import Segmenter
    from dinoiser.segment.windows import Spans, WindowSettings

BAND_BYTES = 2**25
"""Of the rows of an image that are shrunk at a time."""

SegmenterSource = Callable[[], "Segmenter"]
"""Gives the segmenter of the process that computes a part."""


class PlannedPart(NamedTuple):
    """A part of an image: its place, and the key of its labels and confidence."""

    tile: Tile
    result: str


def label_parts(
    grid: ChunkGrid,
    prompts: PromptSet,
    plan: Segmenter,
    segmenter: SegmenterSource,
    part_size: tuple[int, int],
) -> list[list[PlannedPart]]:
    """Plan the labels of an image, part by part, in the grid's graph.

    Parameters
    ----------
    grid
        The image, (H, W, 3) uint8.
    prompts
        The classes to tell apart.
    plan
        A segmenter with the settings, whose model need not be there.
    segmenter
        What computes.
    part_size
        (height, width) of the parts, multiples of `TILE_WIDTH`.

    Returns
    -------
    list
        Rows of parts. A result is a pair of arrays, see `Segmenter.label`.

    Raises
    ------
    SettingsError
        The settings ask for the whole image in one pass.
    """
    if plan.windows.whole:
        msg = (
            "whole=True looks at an image in one pass, which cannot be done in parts; leave it "
            "out, and give short_side the image's own short side to keep every pixel."
        )
        raise SettingsError(msg)
    size = (grid.rows[-1], grid.columns[-1])
    layout = WindowLayout.plan(size, plan.windows)
    blocks = _score_blocks(grid, layout, prompts, plan.windows, segmenter)
    groups = [row[0].rows for row in layout.blocks], [some.columns for some in layout.blocks[0]]
    rows, columns = (
        [slice(start, min(start + step, length)) for start in range(0, length, step)]
        for length, step in zip(size, part_size, strict=True)
    )

    def part(tile: Tile) -> PlannedPart:
        (row_spans, down), (column_spans, across) = (
            _spans_under(pixels, axis, layout, groups[axis]) for axis, pixels in enumerate(tile)
        )
        near = replace(layout, rows=row_spans, columns=column_spans)
        mosaics = [row[across] for row in blocks[down]]
        image = grid.apply(np.asarray, *tile) if plan.refine == "superpixel" else None
        work = partial(_label_part, segmenter, prompts, near, tile)
        return PlannedPart(tile, grid.graph.add(work, mosaics, image))

    return [[part(Tile(row, column)) for column in columns] for row in rows]


def _score_blocks(
    grid: ChunkGrid,
    layout: WindowLayout,
    prompts: PromptSet,
    settings: WindowSettings,
    segmenter: SegmenterSource,
) -> list[list[str]]:
    """Mosaics of all blocks of windows, see `ProbabilityMap`."""
    narrow = _narrow(grid, layout.working_size[1], settings)
    turns = SerializableLock()

    def score(block: WindowLayout) -> str:
        top, bottom, left, right = block.extent
        rows = slice(top, bottom)
        if layout.size[0] != layout.working_size[0]:
            lengths = (layout.size[0], layout.working_size[0])
            rows = source(*lengths, rows, settings.antialias, settings.cubic)
        work = partial(_score_block, segmenter, turns, prompts, block, rows.start)
        return narrow.apply(work, rows, slice(left, right))

    return [[score(block) for block in row] for row in layout.blocks]


def _narrow(grid: ChunkGrid, width: int, settings: WindowSettings) -> ChunkGrid:
    """Resize the columns of an image, a band of rows at a time."""
    if grid.columns[-1] == width:
        return grid
    step = max(1, BAND_BYTES // (3 * grid.columns[-1]))
    edges = [y for start, stop in pairwise(grid.rows) for y in range(start, stop, step)]
    edges.append(grid.rows[-1])
    work = partial(_narrow_band, width, settings)
    bands = [[grid.apply(work, slice(*band))] for band in pairwise(edges)]
    return ChunkGrid(grid.graph, bands, edges, [0, width])


def _narrow_band(width: int, settings: WindowSettings, band: np.ndarray) -> np.ndarray:
    """(n, W, 3) to (n, w, 3) uint8."""
    return to_numpy(resize_columns(to_torch(band), width, settings.antialias, settings.cubic))


def _score_block(
    segmenter: SegmenterSource,
    turns: SerializableLock,
    prompts: PromptSet,
    block: WindowLayout,
    first: int,
    rows: np.ndarray,
) -> np.ndarray:
    """Mosaic (K, h, w) float32 of a block, from rows (n, w, 3) uint8 of the narrowed image."""
    found, (top, bottom, left, _) = segmenter(), block.extent
    with turns:
        found.embed(prompts)  # once, before several blocks ask for it
    lengths, how = (block.size[0], block.working_size[0]), found.windows
    places = slice(top, bottom)
    pixels = resize_rows(to_torch(rows), first, *lengths, places, how.antialias, how.cubic)
    alone = found.model.device.type == "cpu" and torch.get_num_threads() == 1
    with nullcontext() if alone else turns:
        scores = [
            found.score(batch, prompts).cpu()
            for batch in found.encode_block(pixels, block, top, left)
        ]
    return found.map_type.from_windows(torch.cat(scores), block).mosaic.numpy()


def _label_part(
    segmenter: SegmenterSource,
    prompts: PromptSet,
    near: WindowLayout,
    tile: Tile,
    mosaics: list[list[np.ndarray]],
    image: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence of a tile, from the mosaics of the blocks near it."""
    found = segmenter()
    device = found.model.device if found.model.device.type != "mps" else torch.device("cpu")
    grid = [[torch.from_numpy(mosaic).to(device) for mosaic in row] for row in mosaics]
    joined = found.map_type.join(grid, near, spread=found.scoring.spread)
    return found.label(joined, prompts, tile, image)


def _spans_under(
    pixels: slice, axis: int, layout: WindowLayout, groups: list[Spans]
) -> tuple[Spans, slice]:
    """Windows along an axis in the blocks that some pixels need, and which blocks these are."""
    places = source(layout.working_size[axis], layout.size[axis], pixels)
    near = [i for i, g in enumerate(groups) if g[0][0] < places.stop and g[-1][1] > places.start]
    some = slice(near[0], near[-1] + 1)
    return tuple(span for group in groups[some] for span in group), some


def to_torch(pixels: np.ndarray) -> Tensor:
    """Pixels (n, w, 3) as (3, n, w)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def to_numpy(pixels: Tensor) -> np.ndarray:
    """Pixels (3, n, w) as (n, w, 3)."""
    return pixels.permute(1, 2, 0).contiguous().numpy()
