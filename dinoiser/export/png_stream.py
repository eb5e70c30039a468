"""Write 8-bit PNG files of any size, a few rows at a time."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import png

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class PngStream:
    """Writes an indexed or grey PNG from top to bottom.

    A context manager: the end of the file is written when the block ends
    without an error.

    Parameters
    ----------
    file
        The open file to write to.
    size
        (height, width) in pixels.
    palette
        (256, 3) uint8 RGB colours of the indices; None for a grey image.
    """

    def __init__(
        self, file: BinaryIO, size: tuple[int, int], palette: np.ndarray | None = None
    ) -> None:
        colors = None if palette is None else [tuple(color) for color in palette.tolist()]
        self._file = file
        self._compressor = zlib.compressobj()
        writer = png.Writer(*size[::-1], greyscale=palette is None, bitdepth=8, palette=colors)
        writer.write_preamble(file)

    def write(self, rows: np.ndarray) -> None:
        """Append rows (n, width) uint8."""
        # each begins with: no filter
        lines = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)
        lines[:, 1:] = rows
        self._append(self._compressor.compress(lines.data))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._append(self._compressor.flush())
            png.write_chunk(self._file, b"IEND")

    def _append(self, data: bytes) -> None:
        if data:
            png.write_chunk(self._file, b"IDAT", data)
