"""Any image file -> RGB array: JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF and HEIC."""

import re
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dinoiser.errors import ImageError
from dinoiser.images.arrays import pillow_pixels, to_rgb, upright
from dinoiser.images.pixel_limit import check_pixels, pixel_limit

_HEADER_BYTES = 32
_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb".{4}ftyp(?=.*avi[fs])",
    "HEIC": rb".{4}ftyp(?=.*(hei|hev|mif1|msf1))",
}


def read_image(path: str | Path, *, max_pixels: int | None = None) -> np.ndarray:
    """Read any image file as RGB.

    What the file is, is told by its content and not by its name. The image
    is turned upright as its EXIF or TIFF orientation asks, transparent parts
    are laid on white, CMYK is converted, and of animations and stacks the first
    frame is read. 8-bit images are never rescaled; deeper ones (16 or 32
    bits, and floats beyond [0, 1]) are stretched by the 0.5th and 99.5th
    percentiles of all their colour values, see `to_rgb`.

    Parameters
    ----------
    path
        A JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF or, where pillow-heif is
        installed, HEIC file.
    max_pixels
        Refuse images of more pixels before decoding them; None takes the
        environment variable DINOISER_MAX_PIXELS or else 2**29.

    Returns
    -------
    np.ndarray
        Shape (H, W, 3), uint8 RGB in [0, 255], contiguous and writable.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, no image, damaged, cut off, too
        large, or does not say which of its channels are the colours.
    SettingsError
        If the limit is not a whole number of at least 1.
    """
    path = Path(path)
    limit = pixel_limit(max_pixels)
    header = _read_header(path)
    kind = _kind(path, header)
    try:
        rgb = _decode(path, kind, header, limit)
    except ImageError as error:
        msg = f"{path}: {error}"
        raise ImageError(msg) from error
    # decoders raise almost anything on damaged files
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = (
            f"{path} begins like {kind} but cannot be decoded ({reason}); it is damaged, cut off "
            "or of a rare kind, so get it anew or save it as PNG"
        )
        raise ImageError(msg) from error
    return np.require(rgb, requirements=["C", "W"])


def read_labelled_image(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Read an image whose labels are known, see `read_image`.

    Parameters
    ----------
    path
        The image.
    size
        (height, width) of its labels, in pixels.

    Raises
    ------
    ImageError
        The image cannot be read, or has another size than its labels.
    """
    image = read_image(path)
    if image.shape[:2] != tuple(size):
        msg = (
            f"the image {path} is {image.shape[:2]} pixels (height, width), its labels "
            f"{tuple(size)}; put back the image that was labelled, or label it again"
        )
        raise ImageError(msg)
    return image


def read_size(path: str | Path) -> tuple[int, int]:
    """Read (height, width) of an image from its header, as it lies in the file.

    Returns
    -------
    tuple
        In pixels; (0, 0) where the header does not tell.
    """
    path = Path(path)
    try:
        kind = _kind(path, _read_header(path))
        with path.open("rb") as file, _open_image(kind, file) as image:
            return image.height, image.width
    except Exception:  # decoders raise almost anything on damaged files
        return 0, 0


def _read_header(path: Path) -> bytes:
    """Return the first bytes of a file, or say why there are none."""
    try:
        mode = path.stat().st_mode
        header = b""
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                header = file.read(_HEADER_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"there is no file {path}; check the name and the folder"
        raise ImageError(msg) from error
    except PermissionError as error:
        msg = f"{path} may not be read by this user; give yourself the permission to read it"
        raise ImageError(msg) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{str(path)!r} cannot be opened ({reason}); expected the path of an image file"
        raise ImageError(msg) from error
    if not header:
        raise ImageError(_why_nothing_to_read(path, mode))
    return header


def _why_nothing_to_read(path: Path, mode: int) -> str:
    if stat.S_ISDIR(mode):
        return f"{path} is a folder; expected an image file, such as one that is in it"
    if not stat.S_ISREG(mode):
        return f"{path} is a device or pipe; expected an image file"
    return f"{path} is empty (0 bytes); get the image anew or remove the file"


def _kind(path: Path, header: bytes) -> str:
    for kind, signature in _SIGNATURES.items():
        if re.match(signature, header, re.DOTALL):
            return kind
    msg = (
        f"{path} is not an image, whatever its name says: it begins with {header[:12]!r}; "
        f"expected one of {', '.join(_SIGNATURES)}"
    )
    raise ImageError(msg)


def _decode(path: Path, kind: str, header: bytes, limit: int) -> np.ndarray:
    """Decode a file to upright (H, W, 3) uint8."""
    if kind == "TIFF":
        from dinoiser.images.tiff import read_tiff

        rgb = read_tiff(path, limit)
        if rgb is not None:
            return rgb
    with path.open("rb") as file, _open_image(kind, file) as image:
        check_pixels(*image.size, limit)
        if kind == "PNG" and header[24] == 16:
            pixels = _decode_deep_png(path)
        else:
            pixels = pillow_pixels(image)
        channel_axis = -1 if pixels.ndim == 3 else None
        return upright(to_rgb(pixels, channel_axis=channel_axis), _orientation(image))


def _open_image(kind: str, file: BinaryIO) -> ImageFile:
    """Open a file with Pillow, reading its header only.

    Image.open is not used because it compares the size with the global
    Image.MAX_IMAGE_PIXELS, which is the user's to set.
    """
    if kind == "HEIC":
        return _open_heic(file)
    readers: dict[str, type[ImageFile]] = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "TIFF": TiffImageFile,
        "WebP": WebPImageFile,
        "BMP": BmpImageFile,
        "GIF": GifImageFile,
        "AVIF": AvifImageFile,
    }
    try:
        return readers[kind](file)
    except Image.DecompressionBombError as error:
        msg = (
            f"the {kind} image is larger than Pillow's own limit for this format ({error}); "
            "save it as PNG or TIFF, or raise PIL.Image.MAX_IMAGE_PIXELS"
        )
        raise ImageError(msg) from error


def _open_heic(file: BinaryIO) -> ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        msg = "HEIC images need pillow-heif; install it (pip install pillow-heif) or save as JPEG"
        raise ImageError(msg) from error
    return HeifImageFile(file)


def _decode_deep_png(path: Path) -> np.ndarray:
    """Decode a PNG of 16 bits, of which Pillow would keep 8 only."""
    import imagecodecs

    pixels = imagecodecs.png_decode(path.read_bytes())
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    return pixels


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; damaged EXIF data must not cost the image."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
