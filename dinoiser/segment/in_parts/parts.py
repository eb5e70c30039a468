"""The tasks of a lazy segmentation: blocks of windows, and parts of the image.

There are four kinds of tasks, each of which needs only some tasks of those before:

    chunks of the image --_narrow--> bands of rows, with columns at the working size
          --_score_block--> mosaics of patch scores, one for each block of windows
          --_average_cells--> colours of cells, for edges that follow the image
          --_label_part--> labels and confidence, one pair for each part of the image

Results do not depend on how the image is cut into chunks, bands or parts, see `interpolation`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from dask.utils import SerializableLock

from dinoiser.errors import SettingsError
from dinoiser.segment.cells import CellGrid, cell_colours
from dinoiser.segment.edges import EdgeMap, support
from dinoiser.segment.in_parts.chunks import ChunkGrid
from dinoiser.segment.interpolation import source
from dinoiser.segment.pipeline import Block
from dinoiser.segment.probability_map import Tile, cut_places
from dinoiser.segment.resize import resize_columns, resize_rows, to_numpy, to_torch
from dinoiser.segment.windows import WindowLayout

if TYPE_CHECKING:
    from dinoiser.models.base import PatchFeatures
    from dinoiser.prompts import PromptSet
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segment.settings import Refinement, WindowSettings
    from dinoiser.segment.windows import Spans

BAND_BYTES = 2**25
"""Size of the rows of an image that are shrunk at a time."""

PipelineSource = Callable[[], "Pipeline"]
"""Returns the pipeline of the process that computes a part."""
BlockEncoder = Callable[[int, Block], "PatchFeatures"]
"""Encodes a block, given the number of its first window among all of the image."""


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
    refine: Refinement,
    patch_size: int,
    encode: BlockEncoder | None = None,
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
        (height, width) of the parts.
    refine, patch_size
        The pipeline's refinement, and its model's patches.
    encode
        Encodes blocks in place of the pipeline, such as from what is kept.

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
    if refine == "pamr":
        msg = (
            "refine='pamr' takes an image in one pass, which is not possible in parts; use "
            "'edges' or 'none' instead."
        )
        raise SettingsError(msg)
    size = (grid.rows[-1], grid.columns[-1])
    layout = WindowLayout.plan(size, windows)
    narrow = _narrow(grid, layout.working_size[1], windows)
    mosaics = _score_blocks(narrow, layout, prompts, windows, pipeline, encode)
    cells = CellGrid.over(layout, patch_size) if refine == "edges" else None
    bands = _average_cells(narrow, cells, windows) if cells else []

    def part(tile: Tile) -> PlannedPart:
        near, down, across = _windows_near(_places(tile, layout, cells), layout)
        work = partial(_label_part, pipeline, prompts, near, tile, cells)
        colours = bands[_bands_near(tile, cells)] if cells else []
        pixels = grid.apply(np.asarray, *tile.grow(1, size)) if cells else None
        key = grid.graph.add(work, [row[across] for row in mosaics[down]], colours, pixels)
        return PlannedPart(tile, key)

    height, width = part_size
    bands_of_parts = Tile.whole(size).cut(height, size[1])
    return [[part(tile) for tile in band.cut(height, width)] for band in bands_of_parts]


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
    narrow: ChunkGrid,
    layout: WindowLayout,
    prompts: PromptSet,
    windows: WindowSettings,
    pipeline: PipelineSource,
    encode: BlockEncoder | None,
) -> list[list[str]]:
    """Plan the mosaics of all blocks of windows, see `ProbabilityMap`."""
    turns, blocks = SerializableLock(), layout.blocks
    firsts = accumulate((len(block.windows) for row in blocks for block in row), initial=0)

    def score(block: WindowLayout) -> str:
        top, bottom, left, right = block.extent
        rows = _rows_for(slice(top, bottom), layout.size, layout.working_size, windows)
        how = encode and partial(encode, next(firsts))
        work = partial(_score_block, pipeline, turns, prompts, block, rows.start, how)
        return narrow.apply(work, rows, slice(left, right))

    return [[score(block) for block in row] for row in blocks]


def _score_block(
    pipeline: PipelineSource,
    turns: SerializableLock,
    prompts: PromptSet,
    layout: WindowLayout,
    first: int,
    encode: Callable[[Block], PatchFeatures] | None,
    rows: np.ndarray,
) -> np.ndarray:
    """Compute the mosaic float32 of a block from narrowed rows (n, w, 3) uint8."""
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
        block = Block(pixels, layout, top, left)
        if encode is None:
            [scores] = found.score_blocks([block], prompts)
        else:
            scores = found.score(encode(block), prompts)
    return found.lay_out(scores.cpu(), layout).mosaic.numpy()


def _rows_for(
    places: slice, size: tuple[int, int], working_size: tuple[int, int], windows: WindowSettings
) -> slice:
    """Return the rows of the image from which rows of the working size are made.

    They cover more than those, by the reach of the interpolation.
    """
    if size[0] == working_size[0]:
        return places
    return source(size[0], working_size[0], places, windows.antialias, windows.cubic)


# -- Colours of cells, a band of rows at a time


def _average_cells(narrow: ChunkGrid, cells: CellGrid, windows: WindowSettings) -> list[str]:
    """Plan the colours of all cells, band by band, see `cell_colours`."""

    def band(places: slice) -> str:
        rows = _rows_for(places, cells.size, cells.working_size, windows)
        work = partial(_average_band, cells, windows, places, rows.start)
        return narrow.apply(work, rows, slice(0, cells.working_size[1]))

    return [band(places) for places in cut_places(slice(0, cells.working_size[0]), _band(cells))]


def _average_band(
    cells: CellGrid, windows: WindowSettings, places: slice, first: int, rows: np.ndarray
) -> np.ndarray:
    """Compute the colours (3, n, m) of cells from narrowed rows (n, w, 3) uint8."""
    lengths = cells.size[0], cells.working_size[0]
    pixels = resize_rows(to_torch(rows), first, *lengths, places, windows.antialias, windows.cubic)
    return cell_colours(pixels, cells.side).numpy()


def _band(cells: CellGrid) -> int:
    """Rows of the working size in a band of cells."""
    return max(1, BAND_BYTES // (3 * cells.working_size[1] * cells.side)) * cells.side


def _bands_near(tile: Tile, cells: CellGrid) -> slice:
    """Return the bands that decide about some pixels."""
    rows, step = support(cells, tile).rows, _band(cells) // cells.side
    return slice(rows.start // step, -(-rows.stop // step))


# -- Patch scores to labels


def _places(tile: Tile, layout: WindowLayout, cells: CellGrid | None) -> Tile:
    """Return the places of the working size that some pixels need."""
    if cells:
        rows, columns = (
            slice(near.start * cells.side, min(near.stop * cells.side, length))
            for near, length in zip(support(cells, tile), layout.working_size, strict=True)
        )
        return Tile(rows, columns)
    sizes = zip(layout.working_size, layout.size, strict=True)
    rows, columns = (source(*pair, pixels) for pair, pixels in zip(sizes, tile, strict=True))
    return Tile(rows, columns)


def _windows_near(places: Tile, layout: WindowLayout) -> tuple[WindowLayout, slice, slice]:
    """Return the windows of the blocks over some places, and the blocks' rows and columns."""
    blocks = layout.blocks
    groups = [row[0].rows for row in blocks], [block.columns for block in blocks[0]]
    (rows, down), (columns, across) = map(_spans_over, places, groups)
    return replace(layout, rows=rows, columns=columns), down, across


def _spans_over(places: slice, groups: list[Spans]) -> tuple[Spans, slice]:
    """Return the windows along an axis in the blocks over some places, and these blocks."""
    near = [i for i, g in enumerate(groups) if g[0][0] < places.stop and g[-1][1] > places.start]
    some = slice(near[0], near[-1] + 1)
    return tuple(span for group in groups[some] for span in group), some


def _label_part(
    pipeline: PipelineSource,
    prompts: PromptSet,
    near: WindowLayout,
    tile: Tile,
    cells: CellGrid | None,
    mosaics: list[list[np.ndarray]],
    colours: list[np.ndarray],
    pixels: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute labels and confidence of a tile from what is near it."""
    found = pipeline()
    device = found.model.device if found.model.device.type != "mps" else torch.device("cpu")
    on_device = [[torch.from_numpy(mosaic).to(device) for mosaic in row] for row in mosaics]
    probabilities = found.join(on_device, near, prompts)
    if cells is None or pixels is None:
        return found.label(probabilities, prompts, tile)
    around = tile.grow(1, cells.size)
    refined = EdgeMap(
        probabilities,
        cells,
        torch.from_numpy(np.concatenate(colours, 1)),
        pixels,
        first_cell=(_bands_near(tile, cells).start * _band(cells) // cells.side, 0),
        first_pixel=(around.rows.start, around.columns.start),
    )
    return found.label(refined, prompts, tile)
