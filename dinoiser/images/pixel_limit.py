"""Limit the size of images to decode: a guard against decompression bombs."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dinoiser.errors import ImageError, SettingsError

DEFAULT_MAX_PIXELS = 2**29
"""Default limit in pixels (about 23,000 x 23,000)."""

MAX_PIXELS_VARIABLE = "DINOISER_MAX_PIXELS"
"""Name of the environment variable that replaces the default."""

RESULT_BYTES = 3
"""Memory of a pixel of the RGB result."""
PIXEL_BYTES = 4 + RESULT_BYTES
"""Memory of a pixel of an 8-bit image while it is decoded: Pillow's 4 bytes, and the result."""


def pixel_limit(max_pixels: int | None = None) -> int:
    """Return how many pixels an image may have.

    Parameters
    ----------
    max_pixels
        The limit itself. None uses the environment variable
        DINOISER_MAX_PIXELS or, if that is not set, DEFAULT_MAX_PIXELS.

    Returns
    -------
    int
        The limit in pixels, at least 1.

    Raises
    ------
    SettingsError
        If the limit is not a whole number of at least 1.
    """
    name, value = MAX_PIXELS_VARIABLE, os.environ.get(MAX_PIXELS_VARIABLE, str(DEFAULT_MAX_PIXELS))
    if max_pixels is not None:
        name, value = "max_pixels", str(max_pixels)
    try:
        limit = int(value)
    except ValueError:
        limit = 0
    if limit < 1:
        msg = f"{name} is {value}; expected a whole number of pixels such as {2**30}"
        raise SettingsError(msg)
    return limit


def check_pixels(width: int, height: int, limit: int) -> None:
    """Refuse an image that has more pixels than the limit.

    Parameters
    ----------
    width, height
        Size of the image in pixels, as its header states it.
    limit
        The most pixels allowed.

    Raises
    ------
    ImageError
        If width times height exceeds the limit.
    """
    if width * height > limit:
        msg = (
            f"the image has {width} x {height} = {width * height:,} pixels and the limit is "
            f"{limit:,}; if you trust it, raise the limit with max_pixels or the environment "
            f"variable {MAX_PIXELS_VARIABLE}"
        )
        raise ImageError(msg)


def fits(pixels: int, sample_bytes: int, limit: int) -> bool:
    """Whether an image may be decoded as a whole, see `decoding`."""
    return pixels <= limit and _memory(pixels, sample_bytes) <= limit * PIXEL_BYTES


def _memory(pixels: int, sample_bytes: int) -> int:
    return pixels * (sample_bytes + RESULT_BYTES)


class _Decoding:
    """The memory that the images being decoded in this process take together."""

    def __init__(self) -> None:
        self.memory = 0
        self.changed = threading.Condition()


_decoding = _Decoding()


@contextmanager
def decoding(width: int, height: int, sample_bytes: int, limit: int) -> Iterator[None]:
    """Refuse an image that takes too much memory, or wait for it.

    The limit stands for as much memory as an 8-bit image of so many pixels takes:
    deeper images may have fewer, and images that are decoded at the same time in
    other threads share it. An image waits until enough of them are done.

    Parameters
    ----------
    width, height
        Size of the image in pixels, as its header states it.
    sample_bytes
        Memory of a pixel as the file's decoder returns it.
    limit
        The most pixels allowed.

    Raises
    ------
    ImageError
        If the image exceeds the limit on its own.
    """
    check_pixels(width, height, limit)
    memory, most = _memory(width * height, sample_bytes), limit * PIXEL_BYTES
    if memory > most:
        msg = (
            f"the image of {width} x {height} pixels takes {memory:,} bytes of memory, with "
            f"{sample_bytes} bytes a pixel, and the limit is {most:,}; if you trust it, raise the "
            f"limit with max_pixels or the environment variable {MAX_PIXELS_VARIABLE}, to at "
            f"least {-(-memory // PIXEL_BYTES)}"
        )
        raise ImageError(msg)
    with _decoding.changed:
        _decoding.changed.wait_for(
            lambda: not _decoding.memory or _decoding.memory + memory <= most
        )
        _decoding.memory += memory
    try:
        yield
    finally:
        with _decoding.changed:
            _decoding.memory -= memory
            _decoding.changed.notify_all()
