"""The size of a JPEG XL image, which its decoder does not tell before decoding."""

from pathlib import Path
from typing import BinaryIO

from dinoiser.errors import ImageError

_HEADER_BYTES = 16  # the size takes 2 + 9 at most
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_LENGTHS = (9, 13, 18, 30)


def read_jpeg_xl_size(path: Path) -> tuple[int, int]:
    """Read (height, width) as stored (ISO/IEC 18181-1, SizeHeader; 18181-2, boxes).

    Raises
    ------
    ImageError
        The file has no image, or ends before it.
    """
    with path.open("rb") as file:
        header = _codestream(file)
    if len(header) < 3:
        msg = "the JPEG XL file contains no image, probably because it is truncated"
        raise ImageError(msg)
    bits = _Bits(int.from_bytes(header[2:], "little"))
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if ratio == 0:
        return height, _side(bits, small)
    numerator, denominator = _RATIOS[ratio - 1]
    return height, height * numerator // denominator


def _codestream(file: BinaryIO) -> bytes:
    """Return the beginning of the image's data, from a bare file or from its box."""
    start = file.read(_HEADER_BYTES)
    if start[:2] == b"\xff\x0a":
        return start
    file.seek(0)
    while len(box := file.read(8)) == 8:
        size, used = int.from_bytes(box[:4], "big"), 8
        if size == 1:
            size, used = int.from_bytes(file.read(8), "big"), 16
        if box[4:] == b"jxlp":
            file.read(4)  # its number among the parts
        if box[4:] in (b"jxlc", b"jxlp"):
            return file.read(_HEADER_BYTES)
        if size < used:  # 0: up to the end of the file
            break
        file.seek(size - used, 1)
    return b""


class _Bits:
    """Bits, the lowest first."""

    def __init__(self, value: int) -> None:
        self.value = value

    def take(self, count: int) -> int:
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        return taken


def _side(bits: _Bits, small: int) -> int:
    if small:
        return 8 * (bits.take(5) + 1)
    return 1 + bits.take(_LENGTHS[bits.take(2)])
