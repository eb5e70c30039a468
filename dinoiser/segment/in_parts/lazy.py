"""Label images too large for memory: a lazy array in, a lazy array out."""

from __future__ import annotations

import threading
from functools import cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinoiser.models.catalog import find_model
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.segment.in_parts.chunks import ChunkGrid, as_chunks
from dinoiser.segment.in_parts.parts import label_parts
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    import dask.array as da

    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.in_parts.parts import PipelineSource

PART_SIZE = (2048, 2048)
"""Size of the results' chunks."""


class LazySegmentation(NamedTuple):
    """The content of a `Segmentation`, to be computed.

    Attributes
    ----------
    labels, confidence
        (H, W) dask arrays, see `Segmentation`.
    """

    labels: da.Array
    confidence: da.Array


def segment_array(
    array: Any,
    prompts: PromptSet,
    model: str | SegmentationModel = "clip-dinoiser",
    **settings: Any,
) -> da.Array:
    """Label an image of any size, chunk by chunk.

    Parameters
    ----------
    array
        (H, W, 3) uint8 RGB: a dask, zarr or NumPy array.
    prompts
        The classes to look for.
    model
        A name from `dinoiser.list_models`, loaded once in every process that
        computes a part; or a model from `dinoiser.load_model`, to compute in
        this process.
    **settings
        Fields of `SegmentSettings`, except `whole` and "pamr", which are not
        possible in parts.

    Returns
    -------
    dask.array.Array
        (H, W) class ids, see `Segmentation`. Nothing is read,
        and no model is loaded, until it is computed.

    Raises
    ------
    ImageError
        The array is not an 8-bit RGB image.
    PromptError
        The classes are no `PromptSet`.
    SettingsError
        A setting is unknown, out of range, or not possible in parts.
    UnknownModelError
        The catalogue has no model of this name.

    Notes
    -----
    The labels are those of `Segmenter(model, **settings).segment(image,
    prompts)`, without seams: windows go through the model in the same batches,
    and on a CPU everything before and after the model is exact. The model itself
    gives the same numbers for the same batch on the same device with the same
    number of threads.

    In one call of `compute`, every window is computed once, so compute all
    results in one call. Most of the memory is used by rows of chunks being
    processed.
    """
    return lazy_segmentation(array, prompts, model, **settings).labels


def lazy_segmentation(
    array: Any,
    prompts: PromptSet,
    model: str | SegmentationModel = "clip-dinoiser",
    **settings: Any,
) -> LazySegmentation:
    """Label an image of any size, with confidence, see `segment_array`."""
    prompts, given = PromptSet.expect(prompts), SegmentSettings.of(**settings)
    grid = ChunkGrid.of(as_chunks(array))
    if isinstance(model, str):
        pipeline: PipelineSource = partial(_load, model, given)
        entry = find_model(model)
        windows, patch_size = given.windows(entry.windows), entry.patch_size
    else:
        built = Pipeline.build(model, given).in_parts()
        windows, patch_size, pipeline = built.windows, model.patch_size, lambda: built
    parts = label_parts(
        grid,
        prompts,
        windows,
        pipeline,
        PART_SIZE,
        refine=given.refine,
        patch_size=patch_size,
    )
    chunks = (
        tuple(row[0].tile.size[0] for row in parts),
        tuple(part.tile.size[1] for part in parts[0]),
    )
    arrays = []
    for i, dtype in enumerate((prompts.label_type, np.dtype(np.float16))):
        keys = [[grid.graph.add(itemgetter(i), part.result) for part in row] for row in parts]
        arrays.append(grid.graph.as_array(keys, chunks, dtype))
    return LazySegmentation(*arrays)


_LOADING = threading.Lock()


def _load(model: str, settings: SegmentSettings) -> Pipeline:
    """Return a pipeline of this process's model; the first task that needs the model loads it."""
    with _LOADING:
        loaded = _load_once(model)
    return Pipeline.build(loaded.model, settings, phrases=loaded.phrases).in_parts()


@cache
def _load_once(model: str) -> Pipeline:
    """Keep one copy of a model and its phrases, however many settings it is used with."""
    return Pipeline.build(load_model(model), SegmentSettings())
