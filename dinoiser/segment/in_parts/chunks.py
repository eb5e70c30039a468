"""Images in chunks that are computed on demand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.threaded import get

from dinoiser.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike


class TaskGraph:
    """Tasks that depend on the chunks of an array and on each other.

    dask's own `delayed` merges whole graphs for every new task, which takes
    minutes if thousands of tasks depend on thousands.

    Parameters
    ----------
    array
        The array that the tasks start from.
    """

    def __init__(self, array: da.Array) -> None:
        self.array = array
        self.tasks: dict[str, tuple] = {}
        self._name = f"dinoiser-{uuid4().hex}"

    def add(self, function: Callable, *keys: Any) -> str:
        """Plan a call with the results of other tasks, given by keys or nested lists of keys."""
        key = f"{self._name}-{len(self.tasks)}"
        self.tasks[key] = (function, *keys)
        return key

    def as_array(self, keys: list[list[str]], chunks: Any, dtype: DTypeLike) -> da.Array:
        """Make a lazy array from the tasks that compute its chunks."""
        name = f"{self._name}-{len(self.tasks)}-array"
        pieces: dict = {
            (name, i, j): key for i, row in enumerate(keys) for j, key in enumerate(row)
        }
        tasks: Any = {**self.tasks, **pieces}
        graph = HighLevelGraph.from_collections(name, tasks, dependencies=[self.array])  # type: ignore[list-item]
        return da.Array(graph, name, chunks, dtype=dtype)

    def compute(self, keys: list[str], threads: int) -> list:
        """Compute some tasks with threads in this process."""
        graph: dict = {**self.array.__dask_graph__(), **self.tasks}
        return list(get(graph, keys, num_workers=threads))


@dataclass(frozen=True)
class ChunkGrid:
    """An array (H, W, ...) in pieces, each computed only once for all its uses.

    Attributes
    ----------
    graph
        The graph that computes the pieces.
    pieces
        Their keys, row by row.
    rows, columns
        Where the pieces begin, followed by where the last one ends.
    """

    graph: TaskGraph
    pieces: list[list[Any]]
    rows: list[int]
    columns: list[int]

    @classmethod
    def of(cls, array: da.Array) -> ChunkGrid:
        """Use the chunks of an array (H, W, C) that is not divided along C."""
        rows, columns = (np.cumsum([0, *sizes]).tolist() for sizes in array.chunks[:2])
        down, across = array.numblocks[:2]
        keys = [[(array.name, i, j, 0) for j in range(across)] for i in range(down)]
        return cls(TaskGraph(array), keys, rows, columns)

    def apply(
        self, function: Callable[[np.ndarray], Any], rows: slice, columns: slice | None = None
    ) -> str:
        """Plan a call with the pixels of a part or, without `columns`, of whole rows."""
        # Find the pieces and the part of each. A task gets whole pieces and cuts them itself, so
        # that each piece is computed only once.
        row_cuts = _cuts(self.rows, rows)
        column_cuts = _cuts(self.columns, columns or slice(0, self.columns[-1]))
        pieces = [[self.pieces[i][j] for j in column_cuts] for i in row_cuts]
        cuts = (list(row_cuts.values()), list(column_cuts.values()))
        return self.graph.add(partial(_on_part, function, *cuts), pieces)


def as_chunks(array: Any) -> da.Array:
    """Check that an array is an image, and make it a dask array divided along H and W only.

    Raises
    ------
    ImageError
        The array is not (H, W, 3) uint8, or its shape is unknown.
    """
    shape, dtype = tuple(getattr(array, "shape", ())), getattr(array, "dtype", None)
    known = len(shape) == 3 and not any(map(math.isnan, shape))
    if not known or shape[2] != 3 or 0 in shape or dtype != np.uint8:
        what = f"shape {shape} and dtype {dtype}" if dtype is not None else "no dtype"
        msg = (
            f"A {type(array).__name__} of {what} cannot be labelled in parts; expected a dask, "
            "zarr or NumPy array (H, W, 3) of uint8, so convert it first, for example with "
            "array.map_blocks or, if it fits into memory, to_rgb."
        )
        raise ImageError(msg)
    if not isinstance(array, da.Array):
        # name=False: by default, dask names an array by a hash, for which it would read all pixels
        array = da.from_array(array, chunks=getattr(array, "chunks", (2048, 2048, 3)), name=False)
    return array.rechunk({2: 3})


def _cuts(edges: list[int], wanted: slice) -> dict[int, slice]:
    """Return the pieces of an axis that contain the places, and the part of each."""
    return {
        i: slice(max(wanted.start - start, 0), min(wanted.stop, stop) - start)
        for i, (start, stop) in enumerate(pairwise(edges))
        if start < wanted.stop and stop > wanted.start
    }


def _on_part(
    function: Callable[[np.ndarray], Any],
    row_cuts: list[slice],
    column_cuts: list[slice],
    pieces: list[list[np.ndarray]],
) -> Any:
    # join each row of pieces, then the rows
    parts = [
        np.concatenate(
            [np.asarray(piece[cut, c]) for piece, c in zip(row, column_cuts, strict=True)], axis=1
        )
        for row, cut in zip(pieces, row_cuts, strict=True)
    ]
    return function(np.concatenate(parts) if len(parts) > 1 else parts[0])
