"""Label Studio's run lengths of brush strokes: a stream of bits, over four equal channels.

The stream holds the number of values (32 bits), bits per value less one (5 bits), four lengths of
counters less one (4 bits each), and then, for each stretch of values: whether they are all equal
(1 bit), which counter follows (2 bits), the number of values less one, and the value or values.
"""

from __future__ import annotations

import numpy as np

_CHANNELS = 4
_VALUE_BITS = 8
_COUNTER_BITS = (3, 4, 8, 16)


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encode a mask as Label Studio stores it.

    Parameters
    ----------
    mask
        (H, W) bool.

    Returns
    -------
    list of int
        Bytes, 0 to 255.

    See Also
    --------
    decode_brush : the inverse.
    """
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, stops = np.concatenate(([0], edges)), np.concatenate((edges, [flat.size]))
    head = [(flat.size * _CHANNELS, 32), (_VALUE_BITS - 1, 5)]
    bits = [_bits(value, size) for value, size in (*head, *((n - 1, 4) for n in _COUNTER_BITS))]
    longest = 2 ** _COUNTER_BITS[-1]
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        value = _bits(255 * int(flat[start]), _VALUE_BITS)
        length = _CHANNELS * (stop - start)
        while length:
            count = min(length, longest)
            which = next(i for i, n in enumerate(_COUNTER_BITS) if count <= 2**n)
            bits += ["1", _bits(which, 2), _bits(count - 1, _COUNTER_BITS[which]), value]
            length -= count
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8))


def decode_brush(stream: list[int], size: tuple[int, int]) -> np.ndarray:
    """Decode a mask that Label Studio has stored.

    Parameters
    ----------
    stream
        Bytes, 0 to 255.
    size
        (height, width) of the image in pixels.

    Returns
    -------
    ndarray
        (H, W) bool: where the last channel, opacity, is at least half.

    Raises
    ------
    ValueError
        The stream is cut short, or of another size.
    """
    bits = _BitReader(stream)
    total, value_bits = bits.read(32), bits.read(5) + 1
    counters = [bits.read(4) + 1 for _ in range(4)]
    if total != size[0] * size[1] * _CHANNELS:
        msg = f"a brush of {total} values"
        raise ValueError(msg)
    values, filled = np.zeros(total, np.uint32), 0
    while filled < total:
        is_run = bits.read(1)
        stop = filled + 1 + bits.read(counters[bits.read(2)])
        if is_run:
            values[filled:stop] = bits.read(value_bits)
        else:
            stretch = [bits.read(value_bits) for _ in range(filled, min(stop, total))]
            values[filled : filled + len(stretch)] = stretch
        filled = stop
    return values.reshape(*size, _CHANNELS)[..., -1] >= 2 ** (value_bits - 1)


def _bits(value: int, size: int) -> str:
    return format(value, f"0{size}b")


class _BitReader:
    def __init__(self, stream: list[int]) -> None:
        data = bytes(stream)  # refuses what is no byte with a ValueError
        self._text = "".join(map("{:08b}".format, data))
        self._place = 0

    def read(self, size: int) -> int:
        """Read an unsigned integer; a ValueError where the stream has ended."""
        start, self._place = self._place, self._place + size
        if self._place > len(self._text):
            msg = "a brush that is cut short"
            raise ValueError(msg)
        return int(self._text[start : self._place], 2)
