"""Arrays of any usual dtype and layout -> RGB arrays."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from dinoiser.errors import ImageError
from dinoiser.images.scaling import on_white, to_uint8

_COLOR_CHANNELS = (1, 3, 4)
# with `channels` given, an axis longer than this is taken for rows or columns
_MOST_CHANNELS = 16
_BAND_ROWS = 1024  # converted at a time, so that no second copy of a large image is made


def to_rgb(
    array: Any,
    *,
    channels: Sequence[int] | None = None,
    channel_axis: int | None = None,
) -> np.ndarray:
    """Turn one image in memory into an RGB array.

    8-bit values pass unchanged, booleans become black and white, and floats
    that all lie within [0, 1] are taken as that range. Other integers and
    other floats are stretched by their 0.5th and 99.5th percentiles over all
    colour channels together; NaN becomes the lowest value. Transparent images
    are laid on white.

    Parameters
    ----------
    array
        One image: shape (H, W), (H, W, C) or (C, H, W) with C = 1 (grey),
        3 (RGB) or 4 (RGBA), of a boolean, integer or float dtype. Anything that
        NumPy can turn into such an array is accepted too, including dask
        arrays; Pillow images are converted according to their mode. Masked
        values of a masked array take no part in finding the percentiles.
    channels
        Indices, from 0 as those of arrays, of the channels to use as red, green
        and blue, or of the one to use as grey; the `bands` of `read_image` are
        counted from 1. With it, the array may have any number of channels.
    channel_axis
        The axis of the channels. With None, it is the first or the last axis,
        provided that only one of them has a suitable length: 1, 3 or 4, or up
        to 16 where `channels` is given.

    Returns
    -------
    np.ndarray
        Shape (H, W, 3), uint8 RGB in [0, 255], contiguous and writable. It
        shares memory with `array` if nothing had to be converted.

    Raises
    ------
    ImageError
        If the array is not a single image, or its axes or channels would have
        to be guessed.

    Examples
    --------
    >>> satellite = np.zeros((7, 20, 30), np.uint16)
    >>> to_rgb(satellite, channels=(3, 2, 1)).shape
    (20, 30, 3)
    """
    if isinstance(array, Image.Image):
        array = pillow_pixels(array)
        # known here, so that an image 3 pixels high is not ambiguous
        channel_axis = -1 if channel_axis is None and array.ndim == 3 else channel_axis
    pixels = as_array(array)
    _check_is_image(pixels)
    pixels = _channels_last(pixels, channels, channel_axis)
    if channels is not None:
        pixels = _pick(pixels, channels)
    return _eight_bit_rgb(pixels)


def as_array(values: Any) -> np.ndarray:
    """Turn tensors, lists, dask arrays and the like into an array; masked arrays stay masked.

    Raises
    ------
    ImageError
        NumPy cannot, as of a tensor on a GPU, or it is the name of a file.
    """
    if isinstance(values, np.ma.MaskedArray):
        return values
    if isinstance(values, str | PathLike):
        msg = f"{str(values)!r} is a name, not an image; read it with dinoiser.read_image first"
        raise ImageError(msg)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = (
            f"a {type(values).__name__} cannot be taken as an array ({error}); convert it first, "
            "such as a tensor with .detach().float().cpu().numpy()"
        )
        raise ImageError(msg) from error


def pillow_pixels(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image to an array of brightness values.

    Parameters
    ----------
    image
        An image of any mode, including palette and CMYK.

    Returns
    -------
    np.ndarray
        Shape (H, W), bool, uint16, int32 or float32 for modes of these types;
        otherwise (H, W, 3) or, with transparency, (H, W, 4) uint8.
    """
    if image.mode in ("1", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    mode, count = ("RGBA", 4) if image.has_transparency_data else ("RGB", 3)
    pixels = np.empty((image.height, image.width, count), np.uint8)
    for top in range(0, image.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, image.height)
        # not crop(), which checks the global Image.MAX_IMAGE_PIXELS
        band = image.resize(
            (image.width, bottom - top),
            Image.Resampling.NEAREST,
            box=(0, top, image.width, bottom),
        )
        pixels[top:bottom] = np.asarray(band.convert(mode))
    return pixels


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright according to its EXIF or TIFF orientation tag.

    Parameters
    ----------
    pixels
        The image as stored, shape (H, W, C), any dtype.
    orientation
        Value of the tag, 1 to 8 (EXIF 2.3, tag 0x0112); other values count as 1.

    Returns
    -------
    np.ndarray
        The upright image, shape (H, W, C) or, for 5 to 8,
        (W, H, C); a view of `pixels`.
    """
    # 5 to 8: stored columns are rows. The swap comes first, so that the flips below act on the
    # upright axes.
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _check_is_image(pixels: np.ndarray) -> None:
    if pixels.dtype.kind not in "buif":
        msg = (
            f"an array of dtype {pixels.dtype} is not an image; expected booleans, integers or "
            "floats, so convert it first, for example with abs() or astype(float)"
        )
        raise ImageError(msg)
    if pixels.ndim not in (2, 3):
        msg = (
            f"an array of shape {pixels.shape} is not a single image; expected (H, W), (H, W, C) "
            "or (C, H, W), so pass one image of a batch or stack, such as array[0]"
        )
        raise ImageError(msg)
    if pixels.size == 0:
        msg = f"an array of shape {pixels.shape} has no pixels; expected at least one"
        raise ImageError(msg)


def _channels_last(
    pixels: np.ndarray, channels: Sequence[int] | None, channel_axis: int | None
) -> np.ndarray:
    """Reshape (H, W), (H, W, C) and (C, H, W) to (H, W, C)."""
    if pixels.ndim == 2 and channel_axis is None:
        return pixels[..., np.newaxis]
    if channel_axis is None:
        channel_axis = _find_channel_axis(pixels.shape, channels)
    if not -pixels.ndim <= channel_axis < pixels.ndim or pixels.ndim == 2:
        msg = f"an array of shape {pixels.shape} has no channel_axis {channel_axis}"
        raise ImageError(msg)
    return np.moveaxis(pixels, channel_axis, -1)


def _find_channel_axis(shape: tuple[int, ...], channels: Sequence[int] | None) -> int:
    lengths = _COLOR_CHANNELS if channels is None else range(1, _MOST_CHANNELS + 1)
    candidates = [axis for axis in (0, -1) if shape[axis] in lengths]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        msg = (
            f"in an array of shape {shape}, both the first and the last axis could be the "
            "channels; pass channel_axis=-1 for (H, W, C) or channel_axis=0 for (C, H, W)"
        )
    else:
        msg = (
            f"in an array of shape {shape}, neither the first nor the last axis has as many "
            "channels as a grey, RGB or RGBA image (1, 3 or 4); give the channels to use and "
            "their axis, such as channels=(3, 2, 1), channel_axis=0"
        )
    raise ImageError(msg)


def _pick(pixels: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    count = pixels.shape[2]
    if len(channels) not in (1, 3) or not all(0 <= channel < count for channel in channels):
        msg = (
            f"channels={tuple(channels)} does not fit an array with {count} channels; expected "
            f"one index (grey) or three (red, green, blue) from 0 to {count - 1}"
        )
        raise ImageError(msg)
    return pixels[..., list(channels)]


def _eight_bit_rgb(pixels: np.ndarray) -> np.ndarray:
    """Turn (H, W, 1), (H, W, 3) or (H, W, 4) of any dtype into (H, W, 3) uint8."""
    count = pixels.shape[2]
    missing = np.ma.getmaskarray(pixels) if np.ma.is_masked(pixels) else None
    pixels = np.ma.getdata(pixels)
    if count not in _COLOR_CHANNELS:
        msg = (
            f"an image with {count} channels is not grey, RGB or RGBA; give the ones to use as "
            f"red, green and blue, such as channels=({', '.join('210' if count > 2 else '001')})"
        )
        raise ImageError(msg)
    if count == 4:
        # invisible pixels often hold arbitrary values, which must not set the percentiles
        alpha = pixels[..., 3]
        visible = np.broadcast_to((alpha > 0)[..., np.newaxis], (*alpha.shape, 3))
        rgb = on_white(_scaled(pixels[..., :3], visible, missing), alpha)
    else:
        rgb = _scaled(pixels, None, missing)
    if count == 1:
        rgb = np.repeat(rgb, 3, axis=2)
    return np.require(rgb, requirements=["C", "W"])


def _scaled(
    colors: np.ndarray, visible: np.ndarray | None, missing: np.ndarray | None
) -> np.ndarray:
    """Scale colours to 8 bits by those that are visible and not missing."""
    if missing is None or colors.dtype == np.uint8:
        return to_uint8(colors, visible)
    missing = missing[..., : colors.shape[2]]
    scaled = to_uint8(colors, ~missing if visible is None else visible & ~missing)
    scaled[missing] = 0
    return scaled
