"""Labels of images that no memory holds: a lazy array in, a lazy array out."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from dinoiser.models.catalog import find_model
from dinoiser.models.load import load_model
from dinoiser.segment.in_parts.chunks import ChunkGrid, as_chunks
from dinoiser.segment.in_parts.parts import label_parts
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    import dask.array as da

    from dinoiser.models.base import SegmentationModel
    from dinoiser.models.catalog import WindowDefaults
    from dinoiser.prompts import PromptSet

PART_SIZE = (2048, 2048)
"""Chunks of the results: multiples of `TILE_WIDTH`, which the superpixels need."""

_LOADING = threading.Lock()


class LazySegmentation(NamedTuple):
    """What `Segmentation` holds, to be computed.

    Attributes
    ----------
    labels, confidence
        (H, W) uint8 and float16 dask arrays, see `Segmentation`.
    """

    labels: da.Array
    confidence: da.Array


def segment_array(
    array: Any,
    prompts: PromptSet,
    model: str | SegmentationModel = "clip-dinoiser",
    **settings: Any,
) -> da.Array:
    """Label an image of any size, a chunk at a time.

    Parameters
    ----------
    array
        (H, W, 3) uint8 RGB: a dask, zarr or NumPy array.
    prompts
        The classes to tell apart.
    model
        A name from `dinoiser.list_models`, loaded once in every process that
        computes a part; or what `dinoiser.load_model` gives, for computing in
        this process.
    **settings
        Keywords of `Segmenter`, except that `whole` cannot be had in parts.

    Returns
    -------
    dask.array.Array
        (H, W) uint8 class ids; 0 = background, 255 = ignore. Nothing is read
        and no model loaded before it is computed.

    Raises
    ------
    ImageError
        The array is no RGB image of 8 bits.
    SettingsError
        A setting is out of its range, or is `whole`.
    UnknownModelError
        The catalogue holds no model of this name.

    Notes
    -----
    The labels are those of `Segmenter(model, **settings).segment(image,
    prompts)`, seams and all else included: windows go through the model in the
    same batches, and everything before and after the model is exact. The model
    itself gives the same numbers for the same batch on the same device with
    the same number of threads.

    Every window is computed once in a call of `compute`; compute all that is
    wanted in one call. Most memory goes to the rows of chunks at work.
    """
    return lazy_segmentation(array, prompts, model, **settings).labels


def lazy_segmentation(
    array: Any,
    prompts: PromptSet,
    model: str | SegmentationModel = "clip-dinoiser",
    **settings: Any,
) -> LazySegmentation:
    """Label an image of any size, and say how sure that is: see `segment_array`."""
    grid = ChunkGrid.of(as_chunks(array))
    if isinstance(model, str):
        plan = Segmenter(cast("SegmentationModel", _Planned(find_model(model).windows)), **settings)
        named = _Named(model, tuple(settings.items()))
        parts = label_parts(grid, prompts, plan, named, PART_SIZE)
    else:
        segmenter = Segmenter(model, **settings)
        parts = label_parts(grid, prompts, segmenter, lambda: segmenter, PART_SIZE)
    chunks = (
        tuple(row[0].tile.size[0] for row in parts),
        tuple(part.tile.size[1] for part in parts[0]),
    )
    arrays = []
    for i, dtype in enumerate((np.uint8, np.float16)):
        keys = [[grid.graph.add(itemgetter(i), part.result) for part in row] for row in parts]
        arrays.append(grid.graph.as_array(keys, chunks, dtype))
    return LazySegmentation(*arrays)


class _Planned(NamedTuple):
    """As much of a model as a `Segmenter` needs to check its settings and to plan."""

    windows: WindowDefaults
    digest: None = None


@dataclass(frozen=True)
class _Named:
    """A segmenter that every process makes for itself."""

    model: str
    settings: tuple[tuple[str, Any], ...]

    def __call__(self) -> Segmenter:
        with _LOADING:
            return _load(self)


@cache
def _load(named: _Named) -> Segmenter:
    return Segmenter(load_model(named.model), **dict(named.settings))
