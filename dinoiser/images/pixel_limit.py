"""Limit the size of images to decode: a guard against decompression bombs."""

import os

from dinoiser.errors import ImageError, SettingsError

DEFAULT_MAX_PIXELS = 2**29
"""Default limit in pixels (about 23,000 x 23,000)."""

MAX_PIXELS_VARIABLE = "DINOISER_MAX_PIXELS"
"""Name of the environment variable that replaces the default."""


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
