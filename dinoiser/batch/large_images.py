"""Label images too large for memory: from a file to a mask, one row of parts at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinoiser.atomic import atomic_file
from dinoiser.export.confidence import confidence_bytes
from dinoiser.export.overlay import preview_size
from dinoiser.export.png import mask_palette
from dinoiser.export.png_writer import PngStream
from dinoiser.images.large_tiff import open_large_tiff
from dinoiser.images.settings import AS_STORED
from dinoiser.segment.in_parts.chunks import ChunkGrid
from dinoiser.segment.in_parts.parts import label_parts
from dinoiser.segment.resize import resize, to_numpy, to_torch
from dinoiser.segmentation import HISTOGRAM_BINS, Segmentation

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.images.large_tiff import LargeTiff
    from dinoiser.images.settings import ReadSettings
    from dinoiser.prompts import PromptSet
    from dinoiser.segment.in_parts.chunks import TaskGraph
    from dinoiser.segment.in_parts.parts import BlockEncoder, PlannedPart
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segment.probability_map import Tile

PART_SIZE = (1024, 2048)
"""Size (H, W) of the parts labelled at a time, and of chunks of images that keep their size."""
BAND = (256, 2**31)
"""Smallest size (H, W) of chunks of images that are shrunk: whole rows."""
FeatureSource = Callable[[tuple[int, int]], AbstractContextManager["BlockEncoder"]]
MOST_THREADS = 8  # memory grows with the number of parts at work


@dataclass(frozen=True)
class LargeSegmentation:
    """What remains known of a large image once its mask is written.

    Attributes
    ----------
    size
        (H, W) in pixels.
    prompts
        The classes that the labels refer to.
    preview_image, preview_labels
        (h, w, 3) uint8 and (h, w): the image and its labels, of `preview_size`.
    warning
        See `dinoiser.images.nodata.ReadImage`.
    """

    size: tuple[int, int]
    prompts: PromptSet
    preview_image: np.ndarray
    preview_labels: np.ndarray
    warning: str | None
    _measures: list[_Measure]

    def pixel_counts(self) -> dict[int, int]:
        """See `Segmentation.pixel_counts`."""
        return {
            label: sum(part.pixels[label] for part in self._measures)
            for label in [*self._ids, self.prompts.ignore]
        }

    def mean_confidence(self) -> dict[int, float | None]:
        """See `Segmentation.mean_confidence`."""
        counts = self.pixel_counts()
        sums = {
            label: sum((m.confidence[label] or 0.0) * m.pixels[label] for m in self._measures)
            for label in self._ids
        }
        return {label: sums[label] / counts[label] if counts[label] else None for label in sums}

    def confidence_histogram(self) -> dict[int, tuple[int, ...]]:
        """See `Segmentation.confidence_histogram`."""
        found = [part.histogram for part in self._measures]
        none = (0,) * HISTOGRAM_BINS
        sums = {
            label: tuple(np.sum([part.get(label, none) for part in found], 0).tolist())
            for label in self._ids
        }
        return {label: histogram for label, histogram in sums.items() if any(histogram)}

    @property
    def _ids(self) -> list[int]:
        return [c.id for c in self.prompts.classes]


def label_large_tiff(
    path: str | Path,
    prompts: PromptSet,
    pipeline: Pipeline,
    mask_path: str | Path,
    confidence_path: str | Path | None = None,
    *,
    threads: int | None = None,
    reading: ReadSettings = AS_STORED,
    features: FeatureSource | None = None,
    replacing: AbstractContextManager[None] | None = None,
) -> LargeSegmentation:
    """Label a TIFF file that does not fit into memory, writing its mask as it is computed.

    Mask and confidence are the same as for the image as a whole.

    Parameters
    ----------
    path
        See `dinoiser.images.large_tiff.open_large_tiff`.
    prompts
        The classes to look for.
    pipeline
        The pipeline; it must use windows, not whole images.
    mask_path
        PNG of the labels, see `dinoiser.export.write_png`.
    confidence_path
        Grey PNG of the confidence, see `dinoiser.export.write_confidence`;
        None for none.
    threads
        Number of parts processed at a time; None for one per processor, at
        most `MOST_THREADS`.
    reading
        See `open_large_tiff`.
    features
        Keeps the features of an image of some size; None to keep none.
    replacing
        Entered before the files take their places, and left after; an error
        from it leaves what is there. None for nothing.

    Raises
    ------
    ImageError
        The file cannot be read in parts, see `open_large_tiff`.
    SettingsError
        The pipeline is for whole images, see `label_parts` and
        `Pipeline.in_parts`.
    OutputError
        A result cannot be written.
    """
    pipeline = pipeline.in_parts()
    with ExitStack() as until_placed, ExitStack() as stack:
        # What is read, and the plan of its labels
        tiff = stack.enter_context(open_large_tiff(path, reading))
        # Chunks of an image that keeps its size are its parts; one that is shrunk is read in bands.
        keeps_its_size = pipeline.plan(tiff.size).working_size == tiff.size
        grid = ChunkGrid.of(tiff.pixels(PART_SIZE if keeps_its_size else BAND))
        encode = None if features is None else stack.enter_context(features(tiff.size))
        parts = label_parts(
            grid,
            prompts,
            pipeline.windows,
            lambda: pipeline,
            PART_SIZE,
            refine=pipeline.refine,
            patch_size=pipeline.model.patch_size,
            encode=encode,
        )
        # Where the labels go: files that appear under their names only when they are whole
        mask = stack.enter_context(atomic_file(mask_path))
        stream = PngStream(mask, tiff.size, mask_palette(prompts), prompts.label_type)
        streams = [stack.enter_context(stream)]
        if confidence_path is not None:
            grey = stack.enter_context(atomic_file(confidence_path))
            streams.append(stack.enter_context(PngStream(grey, tiff.size)))
        # Reading, labelling and writing, all in one graph: dask keeps no more parts than it needs
        writer = _Writer(tiff, prompts, streams)
        keys = [_shrink(grid, writer.preview.shape), writer.plan(grid.graph, parts)]
        threads = threads or min(os.cpu_count() or 1, MOST_THREADS)
        preview, _ = grid.graph.compute(keys, threads)
        if replacing is not None:
            until_placed.enter_context(replacing)
        shown = preview, writer.preview
        return LargeSegmentation(tiff.size, prompts, *shown, tiff.warning, writer.measures)


class _Measure(NamedTuple):
    """What `Segmentation` counts, for one part."""

    pixels: dict[int, int]
    confidence: dict[int, float | None]
    histogram: dict[int, tuple[int, ...]]


class _Writer:
    """Writes rows of parts in order while later ones are computed."""

    def __init__(self, tiff: LargeTiff, prompts: PromptSet, streams: list[PngStream]) -> None:
        self.tiff, self.prompts, self.streams = tiff, prompts, streams
        self.preview = np.zeros(preview_size(tiff.size), prompts.label_type)
        self.measures: list[_Measure] = []

    def plan(self, graph: TaskGraph, parts: list[list[PlannedPart]]) -> str:
        """Plan the writing of all rows, each after the one before."""
        # A chain of writes: the PNG's rows have to come in order, their parts may not.
        before = graph.add(tuple)
        for row in parts:
            measured = [graph.add(partial(self._measure, part.tile), part.result) for part in row]
            before = graph.add(partial(self._write, row[0].tile.rows), measured, before)
        return before

    def _measure(self, tile: Tile, result: tuple[np.ndarray, np.ndarray]) -> tuple:
        """Return the images of a part to write, and its measure."""
        missing = self.tiff.missing(tile.rows, tile.columns)
        part = Segmentation(*result, self.prompts).ignoring(missing)
        counts = part.pixel_counts(), part.mean_confidence(), part.confidence_histogram()
        grey = [confidence_bytes(part)] if len(self.streams) > 1 else []
        return part.labels, *grey, _Measure(*counts)

    def _write(self, rows: slice, parts: list[tuple], _before: Any) -> None:
        # from: (labels, [confidence,] measure) of each part; to: a row of parts for each file
        *images, measures = zip(*parts, strict=True)
        for stream, pieces in zip(self.streams, images, strict=True):
            stream.write(np.concatenate(pieces, axis=1))
        self.measures += measures
        self._add_to_preview(rows, np.concatenate(images[0], axis=1))

    def _add_to_preview(self, rows: slice, labels: np.ndarray) -> None:
        # The pixel under the centre of each preview pixel: labels cannot be averaged.
        down, across = (
            (np.arange(small) * 2 + 1) * side // (2 * small)
            for small, side in zip(self.preview.shape, self.tiff.size, strict=True)
        )
        inside = (rows.start <= down) & (down < rows.stop)
        self.preview[inside] = labels[down[inside] - rows.start][:, across]


def _shrink(grid: ChunkGrid, size: tuple[int, int]) -> str:
    """Plan to shrink an image to its preview, piece by piece."""
    # Edges of the pieces, rounded to preview pixels, so that the shrunk pieces fit together.
    rows, columns = (
        [round(edge * small / edges[-1]) for edge in edges]
        for edges, small in zip((grid.rows, grid.columns), size, strict=True)
    )
    pieces = [
        [
            grid.graph.add(partial(_shrink_piece, (bottom - top, right - left)), piece)
            for piece, (left, right) in zip(row, pairwise(columns), strict=True)
        ]
        for row, (top, bottom) in zip(grid.pieces, pairwise(rows), strict=True)
    ]
    return grid.graph.add(_join, pieces)


def _shrink_piece(size: tuple[int, int], pixels: np.ndarray) -> np.ndarray:
    if 0 in size:
        return np.zeros((*size, 3), np.uint8)
    return to_numpy(resize(to_torch(pixels), size))


def _join(pieces: list[list[np.ndarray]]) -> np.ndarray:
    return np.concatenate([np.concatenate(row, axis=1) for row in pieces])
