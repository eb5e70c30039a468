"""Write PNG files of any size, a few rows at a time."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import png

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from numpy.typing import DTypeLike


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
    dtype
        Type of the pixels, uint8 or, for grey images, uint16.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: tuple[int, int],
        palette: np.ndarray | None = None,
        dtype: DTypeLike = np.uint8,
    ) -> None:
        colors = None if palette is None else [tuple(color) for color in palette.tolist()]
        self._file = file
        self._compressor = zlib.compressobj()
        self._type = np.dtype(dtype).newbyteorder(">")
        depth = 8 * self._type.itemsize
        writer = png.Writer(*size[::-1], greyscale=palette is None, bitdepth=depth, palette=colors)
        writer.write_preamble(file)

    def write(self, rows: np.ndarray) -> None:
        """Append rows (n, width) of the type of the pixels."""
        pixels = np.ascontiguousarray(rows, self._type).view(np.uint8)
        # each begins with: no filter
        lines = np.zeros((pixels.shape[0], pixels.shape[1] + 1), np.uint8)
        lines[:, 1:] = pixels
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
