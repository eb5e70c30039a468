"""Read any image file as an RGB array, whatever its format."""

import re
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dinoiser.errors import ImageError, reason_of
from dinoiser.images.arrays import pillow_pixels, to_rgb, upright
from dinoiser.images.jpeg_xl import read_jpeg_xl_size
from dinoiser.images.nodata import ReadImage
from dinoiser.images.pixel_limit import decoding, pixel_limit
from dinoiser.images.settings import AS_STORED, ReadSettings, chosen_samples

_HEADER_BYTES = 352  # enough for NIfTI, which is told by its end
_SIGNATURE_BYTES = 32
_JPEG_END = b"\xff\xd9"
_GREY = ("1", "L", "I", "F")  # first bands, as Pillow calls them
# memory of a pixel with 16 bits, by Pillow's mode; grey with transparency is decoded to RGBA
_DEEP_BYTES = {"L": 2, "I;16": 2, "RGB": 6}
_JPEG_XL_BYTES = 8  # RGBA with 16 bits: the depth shows only when it is decoded
_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb".{4}ftyp(?=.*avi[fs])",
    "HEIC": rb".{4}ftyp(?=.*(hei|hev|mif1|msf1))",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "PNM": rb"P[1-6]\s",
    "DIB": rb"[\x28\x6c\x7c]\0{3}.{8}\x01\0",
}
_KIND_TAG, _REDUCED = 254, 1  # of TIFF: NewSubfileType
_AS_TIFF = "convert it to TIFF: gdal_translate IN OUT.tif"
_SLICES = "save its slices as 16-bit PNG or TIFF"
_OTHER_FILES = {
    "a DICOM file": (rb".{128}DICM", f"{_SLICES} in a DICOM viewer, or with pydicom"),
    "a CZI file": (rb"ZISRAWFILE", "export it as TIFF from ZEN or Fiji"),
    "a NIfTI file": (rb".{344}(n[+i]1)\0|.{4}n[+i]2\0", f"{_SLICES} with nibabel or Fiji"),
    "a gzip file, as NIfTI often is": (
        rb"\x1f\x8b",
        f"unpack it, or, if it is NIfTI, {_SLICES} with nibabel or Fiji",
    ),
    "an ND2 file": (rb"\xda\xce\xbe\x0a", "export it as TIFF from NIS-Elements or Fiji"),
    "a LIF file": (rb"\x70\0{3}.{4}\x2a", "export it as TIFF from LAS X or Fiji"),
    "a GDAL virtual raster (VRT)": (rb"<VRTDataset", _AS_TIFF),
    "the header of an ENVI image": (rb"ENVI\s", "convert the image to TIFF with GDAL or QGIS"),
    "an ERDAS Imagine file": (rb"EHFA_HEADER_TAG", _AS_TIFF),
    "an HDF5 or netCDF file": (
        rb"\x89HDF\r\n\x1a\n|CDF[\1\2\5]",
        "save its bands as one TIFF with GDAL or QGIS",
    ),
    "a ZIP file": (rb"PK(\x03\x04|\x05\x06)", "unpack it and give the folder"),
}


def read_image(
    path: str | Path,
    *,
    max_pixels: int | None = None,
    nodata: float | None = None,
    bands: Sequence[int] | None = None,
) -> np.ndarray:
    """Read any image file as RGB.

    The format is detected from the content, not from the file name. The image
    is turned upright according to its EXIF or TIFF orientation, transparency is
    laid on white, CMYK is converted, and the first frame of an animation or
    stack is read. 8-bit images are never rescaled; deeper ones (16 or 32 bits,
    and floats beyond [0, 1]) are stretched between the 0.5th and the 99.5th
    percentile of all their colour values, see `to_rgb`. Values that a TIFF file
    declares as missing (GDAL_NODATA) do not count, nor does NaN.

    Parameters
    ----------
    path
        A JPEG, JPEG 2000, JPEG XL, PNG, TIFF, WebP, BMP, GIF, AVIF, PNM or,
        with pillow-heif installed, HEIC file.
    max_pixels
        Images with more pixels are refused before decoding. None uses the
        environment variable DINOISER_MAX_PIXELS or, if not set, 2**29.
    nodata
        A value of TIFF files that means missing data, in addition to those that
        they declare.
    bands
        The bands to use as red, green and blue, or the one to use as grey,
        counted from 1 as GDAL, rasterio and QGIS do; the `channels` of `to_rgb`
        are counted from 0. None for those that the file says are its colours.

    Returns
    -------
    np.ndarray
        Shape (H, W, 3), uint8 RGB in [0, 255], contiguous and writable.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, not an image, damaged, truncated,
        too large, lacks a band, or does not say which of its bands are the
        colours.
    SettingsError
        If the limit is not a whole number of at least 1, or bands are neither
        one nor three numbers of at least 1.

    Warns
    -----
    UserWarning
        If a value looks like missing data but is not declared.
    """
    return read_and_warn(path, ReadSettings(nodata, bands), max_pixels=max_pixels).rgb


def read_and_warn(
    path: str | Path, reading: ReadSettings = AS_STORED, *, max_pixels: int | None = None
) -> ReadImage:
    """Read an image and which of its pixels hold no data; see `read_image`, which warns alike."""
    image = read_with_missing(path, reading, max_pixels=max_pixels)
    if image.warning:
        warnings.warn(f"{path}: {image.warning}", stacklevel=3)
    return image


def read_with_missing(
    path: str | Path, reading: ReadSettings = AS_STORED, *, max_pixels: int | None = None
) -> ReadImage:
    """Read an image and which of its pixels hold no data, see `read_image`."""
    path = Path(path)
    limit = pixel_limit(max_pixels)
    # detect the format, then decode; messages from decoding get the path in front
    header = _read_header(path)
    kind = _kind(path, header)
    try:
        image = _decode(path, kind, header, limit, reading)
    except ImageError as error:
        msg = f"{path}: {error}"
        raise ImageError(msg) from error
    # decoders raise almost anything on damaged files
    except Exception as error:
        msg = (
            f"{path} looks like {kind} but cannot be decoded ({reason_of(error)}); it may be "
            "damaged, truncated or of an unusual kind, so get a new copy or save it as PNG"
        )
        raise ImageError(msg) from error
    return image._replace(rgb=np.require(image.rgb, requirements=["C", "W"]))


def read_labelled_image(
    path: str | Path, size: tuple[int, int], reading: ReadSettings = AS_STORED
) -> np.ndarray:
    """Read an image that has labels, see `read_image`.

    Parameters
    ----------
    path
        The image.
    size
        (height, width) of its labels, in pixels.
    reading
        How it was read when it was labelled.

    Raises
    ------
    ImageError
        The image cannot be read, or its size differs from that of its labels.
    """
    image = read_image(path, nodata=reading.nodata, bands=reading.bands)
    if image.shape[:2] != tuple(size):
        msg = (
            f"the image {path} has {image.shape[:2]} pixels (height, width) but its labels have "
            f"{tuple(size)}; restore the image that was labelled, or label it again"
        )
        raise ImageError(msg)
    return image


def read_size(path: str | Path) -> tuple[int, int]:
    """Read (height, width) of an upright image from its header.

    Returns
    -------
    tuple
        In pixels; (0, 0) if the header cannot be read.
    """
    path = Path(path)
    try:
        kind = _kind(path, _read_header(path))
        if kind == "JPEG XL":
            return read_jpeg_xl_size(path)
        if kind == "TIFF":
            from dinoiser.images.tiff import read_tiff_size

            return read_tiff_size(path)
        with path.open("rb") as file, _open_image(kind, file) as image:
            height, width = image.height, image.width
            return (width, height) if _orientation(image) >= 5 else (height, width)
    except Exception:  # decoders raise almost anything on damaged files
        return 0, 0


def read_orientation(path: str | Path) -> int:
    """Read how an image is turned, see `upright`; 1 if it is not, or cannot be read."""
    path = Path(path)
    try:
        kind = _kind(path, _read_header(path))
        with path.open("rb") as file, _open_image(kind, file) as image:
            return _orientation(image)
    except Exception:  # decoders raise almost anything on damaged files
        return 1


def is_rare_tiff(path: str | Path) -> bool:
    """Whether an image is a TIFF that Pillow does not read, on which most data sets' readers build.

    Such are those of several channels of floats or signed numbers. Of a file that
    begins with a reduced copy of its image, Pillow reads the copy.
    """
    path = Path(path)
    try:
        is_tiff = _kind(path, _read_header(path)) == "TIFF"
    except ImageError:  # no image at all
        return False
    try:
        with path.open("rb") as file:
            return is_tiff and bool(
                _open_image("TIFF", file).getexif().get(_KIND_TAG, 0) & _REDUCED
            )
    except Exception:  # decoders raise almost anything
        return True


def read_format(path: str | Path) -> str:
    """Detect the format of an image, in Pillow's name where Pillow writes it.

    Raises
    ------
    ImageError
        The file cannot be read or is not an image.
    """
    return _kind(Path(path), _read_header(Path(path))).upper()


def _read_header(path: Path) -> bytes:
    """Return the first bytes of a file, or say why there are none."""
    try:
        mode = path.stat().st_mode
        header = b""
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                header = file.read(_HEADER_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"there is no file {path}; check its name and folder"
        raise ImageError(msg) from error
    except PermissionError as error:
        msg = f"you may not read {path}; get read permission for it"
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
        return f"{path} is a folder; expected an image file, such as one in that folder"
    if not stat.S_ISREG(mode):
        return f"{path} is a device or pipe; expected an image file"
    return f"{path} is empty (0 bytes); get a new copy of the image or remove the file"


def _kind(path: Path, header: bytes) -> str:
    for kind, signature in _SIGNATURES.items():
        if re.match(signature, header[:_SIGNATURE_BYTES], re.DOTALL):
            return kind
    for name, (signature, cure) in _OTHER_FILES.items():
        if re.match(signature, header, re.DOTALL):
            msg = f"{path} is {name}, which cannot be read; {cure}"
            raise ImageError(msg)
    first = header[:12]
    shown = repr(first.decode()) if first.isascii() else f"the bytes {first.hex(' ')}"
    msg = (
        f"{path} is not an image, despite its name: it begins with {shown}; "
        f"expected one of {', '.join(_SIGNATURES)}"
    )
    raise ImageError(msg)


def _decode(path: Path, kind: str, header: bytes, limit: int, reading: ReadSettings) -> ReadImage:
    """Decode a file to an upright image."""
    # TIFF goes to tifffile; the few colour spaces that it leaves undecoded go on to Pillow
    if kind == "TIFF":
        from dinoiser.images.tiff import read_tiff

        tiff = read_tiff(path, limit, reading)
        if tiff is not None:
            return tiff
    if kind == "JPEG XL":
        import imagecodecs

        height, width = read_jpeg_xl_size(path)
        with decoding(width, height, _JPEG_XL_BYTES, limit):
            # the first frame, which the decoder turns upright
            pixels = imagecodecs.jpegxl_decode(path.read_bytes(), index=0)
            return ReadImage(to_rgb(_pick(pixels, reading.bands), channel_axis=-1))
    with path.open("rb") as file, _open_image(kind, file) as image:
        # a PNG's bit depth is its byte 24; that of JPEG 2000 shows only when it is decoded
        is_deep = kind == "JPEG 2000" or (kind == "PNG" and header[24] == 16)
        sample_bytes = _DEEP_BYTES.get(image.mode, 8) if is_deep else 4
        with decoding(*image.size, sample_bytes, limit):
            pixels = _decode_deep(path, kind) if is_deep else _decode_usual(path, kind, image)
            if reading.bands and image.getbands()[0] in _GREY and pixels.ndim == 3:
                pixels = pixels[..., ::3]  # grey three times, and alpha if there is any
            rgb = to_rgb(_pick(pixels, reading.bands), channel_axis=-1)
            return ReadImage(upright(rgb, _orientation(image)))


def _open_image(kind: str, file: BinaryIO) -> ImageFile:
    """Open a file with Pillow, reading its header only.

    Image.open is not used because it checks the size against the global
    Image.MAX_IMAGE_PIXELS, which belongs to the user.
    """
    if kind == "HEIC":
        return _open_heic(file)
    readers: dict[str, type[ImageFile]] = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "TIFF": TiffImageFile,
        "WebP": WebPImageFile,
        "BMP": BmpImageFile,
        "DIB": DibImageFile,
        "JPEG 2000": Jpeg2KImageFile,
        "PNM": PpmImageFile,
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
        msg = "HEIC images need pillow-heif: run pip install pillow-heif, or save as JPEG"
        raise ImageError(msg) from error
    return HeifImageFile(file)


def _decode_deep(path: Path, kind: str) -> np.ndarray:
    """Decode an image of which Pillow would keep only 8 bits."""
    import imagecodecs

    decode = imagecodecs.png_decode if kind == "PNG" else imagecodecs.jpeg2k_decode
    pixels: np.ndarray = decode(path.read_bytes())
    return pixels


def _decode_usual(path: Path, kind: str, image: ImageFile) -> np.ndarray:
    """Decode an image of 8 bits, or of what Pillow keeps."""
    pixels = _decode_jpeg(path, image) if kind == "JPEG" else None
    return pillow_pixels(image) if pixels is None else pixels


def _decode_jpeg(path: Path, image: ImageFile) -> np.ndarray | None:
    """Decode a JPEG, grey (H, W) or RGB (H, W, 3), in half of Pillow's time.

    Returns None for what is left to Pillow. It refuses truncated files, where the codec makes up
    an end; a progressive one may be cut off between its scans without showing it.
    """
    if image.mode not in ("L", "RGB") or "progressive" in image.info:
        return None
    data = path.read_bytes()
    if not data.endswith(_JPEG_END):
        return None
    import imagecodecs

    try:
        pixels: np.ndarray = imagecodecs.jpeg8_decode(data)
    except imagecodecs.Jpeg8Error:
        return None
    expected = (image.height, image.width, *((3,) if image.mode == "RGB" else ()))
    return pixels if pixels.shape == expected and pixels.dtype == np.uint8 else None


def _pick(pixels: np.ndarray, bands: Sequence[int] | None) -> np.ndarray:
    """Turn the bands of an image, (H, W) or (H, W, C), into grey, RGB or RGBA (H, W, C).

    The last one of 2 or 4 is alpha, unless bands are chosen.
    """
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    count = pixels.shape[2]
    if bands is None:
        return pixels[..., [0, 0, 0, 1]] if count == 2 else pixels
    return pixels[..., chosen_samples(bands, count)]


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 if the EXIF data is damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
