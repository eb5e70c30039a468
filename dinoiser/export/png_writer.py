"""Write indexed and grey PNG files, as a whole or a few rows at a time."""

from __future__ import annotations

import io
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import png

from dinoiser.atomic import write_file

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import DTypeLike

LEVEL = 5
"""Of zlib-ng: masks become as small as with level 6 of zlib, in a quarter of the time or less."""
SEAL = b"diNO"
"""A chunk near the end of each file that repeats the checksum of its pixels: once another program
has saved the file, it is gone or wrong. Its letters say that any program may pass it over and that
no program which changes pixels may keep it (PNG specification, section 5.4)."""
_CHECKSUM = 4  # bytes: Adler-32 of all rows, with which compressed data ends
_CRC = 4  # bytes: CRC-32, with which every chunk ends


def write_pixels(pixels: np.ndarray, palette: np.ndarray | None, path: str | Path) -> None:
    """Write a PNG, completely or not at all.

    Parameters
    ----------
    pixels
        (H, W) uint8 or, for grey images, uint16.
    palette
        (256, 3) uint8 RGB colours of the indices; None for a grey image.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    encoded = encode_pixels(pixels, palette)
    write_file(path, encoded)


def encode_pixels(pixels: np.ndarray, palette: np.ndarray | None) -> memoryview:
    """Return the bytes of a PNG, see `write_pixels`."""
    import imagecodecs

    file = io.BytesIO()
    _write_head(file, pixels.shape, palette, pixels.dtype)
    data = imagecodecs.zlibng_encode(_lines(pixels), level=LEVEL)
    png.write_chunk(file, b"IDAT", data)
    file.write(_end(data[-_CHECKSUM:]))
    return file.getbuffer()


def read_seal(path: str | Path) -> int | None:
    """Read the checksum of a PNG's pixels from its end; None if another program has saved it since.

    Raises
    ------
    OSError
        The file cannot be read.

    See Also
    --------
    pixels_checksum : the same number.
    """
    end = len(_end(b"")) + _CHECKSUM
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) < _CHECKSUM + _CRC + end:
            return None
        file.seek(-(_CHECKSUM + _CRC + end), os.SEEK_END)
        tail = file.read()
    checksum = tail[:_CHECKSUM]
    return int.from_bytes(checksum) if tail[-end:] == _end(checksum) else None


def pixels_checksum(pixels: np.ndarray) -> int:
    """Return the Adler-32 of pixels (H, W) uint8 or uint16, as the file's end tells it."""
    return zlib.adler32(_lines(pixels))


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
        See `write_pixels`.
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
        self._file = file
        self._compressor = zlib.compressobj()
        self._type = np.dtype(dtype)
        _write_head(file, size, palette, self._type)

    def write(self, rows: np.ndarray) -> None:
        """Append rows (n, width) of the type of the pixels."""
        self._append(self._compressor.compress(_lines(rows.astype(self._type, copy=False))))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            data = self._compressor.flush()
            self._append(data)
            self._file.write(_end(data[-_CHECKSUM:]))

    def _append(self, data: bytes) -> None:
        if data:
            png.write_chunk(self._file, b"IDAT", data)


def _write_head(
    file: BinaryIO, size: tuple[int, ...], palette: np.ndarray | None, dtype: np.dtype
) -> None:
    """Write what comes before the pixels."""
    colors = None if palette is None else [tuple(color) for color in palette.tolist()]
    depth = 8 * dtype.itemsize
    writer = png.Writer(*size[::-1], greyscale=palette is None, bitdepth=depth, palette=colors)
    writer.write_preamble(file)


def _end(checksum: bytes | bytearray) -> bytes:
    """Return what comes after the pixels."""
    file = io.BytesIO()
    png.write_chunk(file, SEAL, checksum)
    png.write_chunk(file, b"IEND")
    return file.getvalue()


def _lines(pixels: np.ndarray) -> bytearray:
    """Return rows of pixels as they are compressed: bytes, each row after a 0 for no filter."""
    # from the highest byte to the lowest
    values = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8)
    height, width = values.shape
    lines = bytearray(height * (width + 1))
    np.frombuffer(lines, np.uint8).reshape(height, -1)[:, 1:] = values
    return lines
