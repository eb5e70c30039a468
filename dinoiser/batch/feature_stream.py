"""Features of an image too large for memory: written and read a few windows at a time."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import torch

from dinoiser.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

MEAN = "mean"
_KINDS = {torch.float32: "F32", torch.float16: "F16", torch.int8: "I8"}
_ALIGNED = 8
"""Bytes, of the header of a safetensors file."""


class WindowTensors(Protocol):
    """Tensors of all windows of an image, (n, ...) by name, of which some at a time are needed."""

    def get(
        self, first: int, count: int, make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the tensors of some windows.

        Parameters
        ----------
        first, count
            The windows.
        make
            Computes them, with their mean under `MEAN`; called where they are
            not known.
        """


@contextmanager
def written(path: Path, windows: int, about: dict[str, str]) -> Iterator[WindowTensors]:
    """Write a safetensors file of the tensors of windows, which come in any order.

    The file appears when all are there, with the mean over all windows.
    """
    with atomic_file(path) as file:
        tensors = _Written(file, windows, about)
        yield tensors
        tensors.finish()


@contextmanager
def read(path: Path) -> Iterator[WindowTensors]:
    """Read such a file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        yield _Read(file)


class _Read:
    def __init__(self, file: Any) -> None:  # safetensors has no types
        self._file = file

    def get(
        self, first: int, count: int, make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        del make  # they are known
        names = [name for name in self._file.keys() if name != MEAN]  # noqa: SIM118
        some = slice(first, first + count)
        return {name: self._file.get_slice(name)[some] for name in names}


class _Written:
    def __init__(self, file: BinaryIO, windows: int, about: dict[str, str]) -> None:
        self._file, self._windows, self._about = file, windows, about
        self._lock = threading.Lock()
        self._starts: dict[str, int] = {}
        # by their first window, so that the sum does not depend on the order in which they come
        self._sums: dict[int, Tensor] = {}

    def get(
        self, first: int, count: int, make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        made = {name: some.cpu().contiguous() for name, some in make().items()}
        with self._lock:
            if not self._starts:
                self._begin(made)
            self._sums[first] = made.pop(MEAN).double() * count
            for name, some in made.items():
                content = some.numpy().tobytes()
                self._file.seek(self._starts[name] + len(content) // count * first)
                self._file.write(content)
        return made

    def finish(self) -> None:
        """Write what is known at the end only."""
        total = torch.stack([self._sums[first] for first in sorted(self._sums)]).sum(0)
        self._file.seek(self._starts[MEAN])
        self._file.write((total / self._windows).float().numpy().tobytes())

    def _begin(self, some: dict[str, Tensor]) -> None:
        """Write the header, which says where each tensor lies."""
        header: dict[str, object] = {"__metadata__": self._about}
        starts, end = dict[str, int](), 0
        # numbers of more bytes come first, so that all are aligned
        for name, one in sorted(some.items(), key=lambda pair: -pair[1].element_size()):
            shape = list(one.shape) if name == MEAN else [self._windows, *one.shape[1:]]
            starts[name] = end
            end += torch.Size(shape).numel() * one.element_size()
            offsets = [starts[name], end]
            header[name] = {"dtype": _KINDS[one.dtype], "shape": shape, "data_offsets": offsets}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % _ALIGNED)
        content = len(text).to_bytes(8, "little") + text
        self._file.write(content)
        self._starts = {name: len(content) + start for name, start in starts.items()}
