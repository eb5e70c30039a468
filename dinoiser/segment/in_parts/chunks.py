"""Images in chunks that are computed when they are needed."""

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


class TaskGraph:
    """Tasks on the chunks of an array, and on each other.

    dask's own `delayed` merges whole graphs with every new task, which takes
    minutes where thousands of tasks depend on thousands.

    Parameters
    ----------
    array
        What the tasks start from.
    """

    def __init__(self, array: da.Array) -> None:
        self.array = array
        self.tasks: dict[str, tuple] = {}
        self._name = f"dinoiser-{uuid4().hex}"

    def add(self, function: Callable, *keys: Any) -> str:
        """Plan a call with results of other tasks, by their keys or nested lists of keys."""
        key = f"{self._name}-{len(self.tasks)}"
        self.tasks[key] = (function, *keys)
        return key

    def as_array(self, keys: list[list[str]], chunks: Any, dtype: type) -> da.Array:
        """Make a lazy array of tasks that give its chunks."""
        name = f"{self._name}-{len(self.tasks)}-array"
        pieces: dict = {
            (name, i, j): key for i, row in enumerate(keys) for j, key in enumerate(row)
        }
        tasks: Any = {**self.tasks, **pieces}
        graph = HighLevelGraph.from_collections(name, tasks, dependencies=[self.array])  # type: ignore[list-item]
        return da.Array(graph, name, chunks, dtype=dtype)

    def compute(self, keys: list[str], threads: int) -> list:
        """Compute some tasks by threads of this process."""
        graph: dict = {**self.array.__dask_graph__(), **self.tasks}
        return list(get(graph, keys, num_workers=threads))


@dataclass(frozen=True)
class ChunkGrid:
    """An array (H, W, ...) in pieces, each of which is made once for all its uses.

    Attributes
    ----------
    graph
        Makes the pieces.
    pieces
        Their keys, row by row.
    rows, columns
        Where the pieces begin and, as the last number, where all end.
    """

    graph: TaskGraph
    pieces: list[list[Any]]
    rows: list[int]
    columns: list[int]

    @classmethod
    def of(cls, array: da.Array) -> ChunkGrid:
        """Take the chunks of an array (H, W, C) that is not cut along C."""
        rows, columns = (np.cumsum([0, *sizes]).tolist() for sizes in array.chunks[:2])
        down, across = array.numblocks[:2]
        keys = [[(array.name, i, j, 0) for j in range(across)] for i in range(down)]
        return cls(TaskGraph(array), keys, rows, columns)

    def apply(
        self, function: Callable[[np.ndarray], Any], rows: slice, columns: slice | None = None
    ) -> str:
        """Plan a call with the pixels of a part; without `columns`, of whole rows."""
        # Which pieces, and which part of each: a task gets the pieces whole and cuts them itself,
        # so that each is made once for all tasks.
        row_cuts = _cuts(self.rows, rows)
        column_cuts = _cuts(self.columns, columns or slice(0, self.columns[-1]))
        pieces = [[self.pieces[i][j] for j in column_cuts] for i in row_cuts]
        cuts = (list(row_cuts.values()), list(column_cuts.values()))
        return self.graph.add(partial(_on_part, function, *cuts), pieces)


def as_chunks(array: Any) -> da.Array:
    """See that an array is an image, and make it a dask array that is cut along H and W only.

    Raises
    ------
    ImageError
        It is not (H, W, 3) uint8, or its shape is not known.
    """
    shape, dtype = tuple(getattr(array, "shape", ())), getattr(array, "dtype", None)
    known = len(shape) == 3 and not any(map(math.isnan, shape))
    if not known or shape[2] != 3 or 0 in shape or dtype != np.uint8:
        what = f"shape {shape} and dtype {dtype}" if dtype is not None else "no dtype"
        msg = (
            f"A {type(array).__name__} of {what} is no image that can be labelled in parts; "
            "expected a dask, zarr or NumPy array (H, W, 3) of uint8, so bring other kinds to "
            "that first, such as by array.map_blocks or, where it fits into memory, to_rgb."
        )
        raise ImageError(msg)
    if not isinstance(array, da.Array):
        # name=False: by default dask names an array by a hash, for which it would read all pixels.
        array = da.from_array(array, chunks=getattr(array, "chunks", (2048, 2048, 3)), name=False)
    return array.rechunk({2: 3})


def _cuts(edges: list[int], wanted: slice) -> dict[int, slice]:
    """Which pieces of an axis hold the places, and where in them."""
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
    # Rows of pieces, each joined across, then all of them down.
    parts = [
        np.concatenate(
            [np.asarray(piece[cut, c]) for piece, c in zip(row, column_cuts, strict=True)], axis=1
        )
        for row, cut in zip(pieces, row_cuts, strict=True)
    ]
    return function(np.concatenate(parts) if len(parts) > 1 else parts[0])
