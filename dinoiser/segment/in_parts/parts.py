"""The tasks of a lazy segmentation: blocks of windows, and parts of the image.

There are three layers of tasks, each of which needs only some tasks of the layer before:

    chunks of the image --_narrow--> bands of rows, with columns at the working size
          --_score_block--> mosaics of patch scores, one for each block of windows
          --_label_part--> labels and confidence, one pair for each part of the image

Results do not depend on how the image is cut into chunks, bands or parts, see `interpolation`.
"""

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
from dinoiser.segment.pipeline import Block
from dinoiser.segment.probability_map import Tile
from dinoiser.segment.resize import resize_columns, resize_rows, to_numpy, to_torch
from dinoiser.segment.windows import WindowLayout

if TYPE_CHECKING:
    from dinoiser.prompts import PromptSet
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segment.settings import WindowSettings
    from dinoiser.segment.windows import Spans

BAND_BYTES = 2**25
"""Size of the rows of an image that are shrunk at a time."""

PipelineSource = Callable[[], "Pipeline"]
"""Returns the pipeline of the process that computes a part."""


class PlannedPart(NamedTuple):
    """A part of an image: its tile, and the key of its labels and confidence."""

    tile: Tile
    result: str


def label_parts(
    grid: ChunkGrid,
    prompts: PromptSet,
    windows: WindowSettings,
    pipeline: PipelineSource,
    part_size: tuple[int, int],
    *,
    with_pixels: bool,
) -> list[list[PlannedPart]]:
    """Plan the labels of an image, part by part, in the grid's graph.

    Parameters
    ----------
    grid
        The image, (H, W, 3) uint8.
    prompts
        The classes to look for.
    windows
        How the image is cut up, as in the pipeline.
    pipeline
        Returns the pipeline to use.
    part_size
        (height, width) of the parts, multiples of `TILE_WIDTH`.
    with_pixels
        Whether labelling a part needs the image's pixels, for `refine`.

    Returns
    -------
    list
        Rows of parts. A result is a pair of arrays, see `Pipeline.label`.

    Raises
    ------
    SettingsError
        The settings require the whole image in one pass.
    """
    if windows.whole:
        msg = (
            "whole=True takes an image in one pass, which is not possible in parts; omit it, and "
            "set short_side to the image's own short side to keep every pixel."
        )
        raise SettingsError(msg)
    size = (grid.rows[-1], grid.columns[-1])
    layout = WindowLayout.plan(size, windows)
    mosaics = _score_blocks(grid, layout, prompts, windows, pipeline)

    groups = [row[0].rows for row in layout.blocks], [some.columns for some in layout.blocks[0]]

    def part(tile: Tile) -> PlannedPart:
        near, down, across = _windows_near(tile, layout, groups)
        work = partial(_label_part, pipeline, prompts, near, tile)
        pixels = grid.apply(np.asarray, *tile) if with_pixels else None
        key = grid.graph.add(work, [row[across] for row in mosaics[down]], pixels)
        return PlannedPart(tile, key)

    rows, columns = (
        [slice(start, min(start + step, length)) for start in range(0, length, step)]
        for length, step in zip(size, part_size, strict=True)
    )
    return [[part(Tile(row, column)) for column in columns] for row in rows]


# -- The image at its working size, a band of rows at a time


def _narrow(grid: ChunkGrid, width: int, windows: WindowSettings) -> ChunkGrid:
    """Resize the columns of an image, one band of rows at a time.

    Columns come first because rows are then independent: bands can be as small
    as memory requires, and rows are resized later, block by block.
    """
    if grid.columns[-1] == width:
        return grid
    step = max(1, BAND_BYTES // (3 * grid.columns[-1]))
    # bands end where chunks end, so that no chunk is read for two bands
    edges = [y for start, stop in pairwise(grid.rows) for y in range(start, stop, step)]
    edges.append(grid.rows[-1])
    work = partial(_narrow_band, width, windows)
    bands = [[grid.apply(work, slice(*band))] for band in pairwise(edges)]
    return ChunkGrid(grid.graph, bands, edges, [0, width])


def _narrow_band(width: int, windows: WindowSettings, band: np.ndarray) -> np.ndarray:
    """Resize (n, W, 3) to (n, w, 3) uint8."""
    return to_numpy(resize_columns(to_torch(band), width, windows.antialias, windows.cubic))


# -- Blocks of windows to patch scores


def _score_blocks(
    grid: ChunkGrid,
    layout: WindowLayout,
    prompts: PromptSet,
    windows: WindowSettings,
    pipeline: PipelineSource,
) -> list[list[str]]:
    """Plan the mosaics of all blocks of windows, see `ProbabilityMap`."""
    narrow = _narrow(grid, layout.working_size[1], windows)
    turns = SerializableLock()

    def score(block: WindowLayout) -> str:
        top, bottom, left, right = block.extent
        rows = slice(top, bottom)
        if layout.size[0] != layout.working_size[0]:
            # the rows of the image from which the block's rows are made: more than it covers, by
            # the reach of the interpolation
            lengths = (layout.size[0], layout.working_size[0])
            rows = source(*lengths, rows, windows.antialias, windows.cubic)
        work = partial(_score_block, pipeline, turns, prompts, block, rows.start)
        return narrow.apply(work, rows, slice(left, right))

    return [[score(block) for block in row] for row in layout.blocks]


def _score_block(
    pipeline: PipelineSource,
    turns: SerializableLock,
    prompts: PromptSet,
    layout: WindowLayout,
    first: int,
    rows: np.ndarray,
) -> np.ndarray:
    """Compute the mosaic (K, h, w) float32 of a block from narrowed rows (n, w, 3) uint8."""
    found, (top, bottom, left, _) = pipeline(), layout.extent
    with turns:
        found.embed(prompts)  # once, before several blocks need it
    lengths, how = (layout.size[0], layout.working_size[0]), found.windows
    places = slice(top, bottom)
    pixels = resize_rows(to_torch(rows), first, *lengths, places, how.antialias, how.cubic)
    # Blocks take turns, as the model uses all cores or the GPU by itself. Running two blocks in two
    # threads helps only if torch has a single thread.
    alone = found.model.device.type == "cpu" and torch.get_num_threads() == 1
    with nullcontext() if alone else turns:
        [scores] = found.score_blocks([Block(pixels, layout, top, left)], prompts)
    return found.lay_out(scores.cpu(), layout).mosaic.numpy()


# -- Patch scores to labels


def _windows_near(
    tile: Tile, layout: WindowLayout, groups: tuple[list[Spans], list[Spans]]
) -> tuple[WindowLayout, slice, slice]:
    """Return the windows of the blocks that some pixels need, and the blocks' rows and columns."""
    (rows, down), (columns, across) = (
        _spans_under(pixels, axis, layout, groups[axis]) for axis, pixels in enumerate(tile)
    )
    return replace(layout, rows=rows, columns=columns), down, across


def _spans_under(
    pixels: slice, axis: int, layout: WindowLayout, groups: list[Spans]
) -> tuple[Spans, slice]:
    """Return the windows along an axis in the blocks that some pixels need, and these blocks."""
    places = source(layout.working_size[axis], layout.size[axis], pixels)
    near = [i for i, g in enumerate(groups) if g[0][0] < places.stop and g[-1][1] > places.start]
    some = slice(near[0], near[-1] + 1)
    return tuple(span for group in groups[some] for span in group), some


def _label_part(
    pipeline: PipelineSource,
    prompts: PromptSet,
    near: WindowLayout,
    tile: Tile,
    mosaics: list[list[np.ndarray]],
    pixels: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute labels and confidence of a tile from the mosaics of the blocks near it."""
    found = pipeline()
    device = found.model.device if found.model.device.type != "mps" else torch.device("cpu")
    on_device = [[torch.from_numpy(mosaic).to(device) for mosaic in row] for row in mosaics]
    return found.label(found.join(on_device, near), prompts, tile, pixels)
