"""Read TIFF files of every depth and layout as RGB arrays."""

from collections.abc import Sequence
from itertools import dropwhile, islice
from pathlib import Path

import numpy as np
from tifffile import (
    COMPRESSION,
    EXTRASAMPLE,
    PHOTOMETRIC,
    PLANARCONFIG,
    TiffFile,
    TiffFrame,
    TiffPage,
    TiffPageSeries,
)

from dinoiser.errors import ImageError
from dinoiser.images.arrays import to_rgb, upright
from dinoiser.images.nodata import (
    ReadImage,
    declared_nodata,
    missing_pixels,
    missing_values,
    warn_of_partial_alpha,
    warn_of_undeclared,
)
from dinoiser.images.pixel_limit import check_pixels, decoding
from dinoiser.images.settings import AS_STORED, ReadSettings, chosen_samples
from dinoiser.images.truncated import check_data, check_pages

_ORIENTATION_TAG = 274
_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)


def read_tiff(path: Path, limit: int, reading: ReadSettings = AS_STORED) -> ReadImage | None:
    """Read the first image of a TIFF file.

    For a stack (time, depth or plain pages), the first page is read that is not a
    reduced copy. Three channels stored as separate pages (OME, ImageJ) are read as
    red, green and blue. In an RGB image, channels after the third are dropped unless
    they are marked as alpha. Where bands are chosen, others are dropped, except alpha beside
    four or more.

    Parameters
    ----------
    path
        The file.
    limit
        The largest number of pixels allowed.
    reading
        The bands to use, and the value of pixels without data in addition to
        the one that the file declares.

    Returns
    -------
    ReadImage or None
        None for the colour spaces that are left to Pillow (CMYK, Lab, YCbCr
        without JPEG).

    Raises
    ------
    ImageError
        If the image has too many pixels, is truncated, lacks a band, or does not
        say which of its bands are the colours.
    """
    with TiffFile(path) as tiff:
        series = first_series(tiff)
        layout = series.keyframe
        check_pixels(layout.imagewidth, layout.imagelength, limit)
        if not is_understood(layout):
            _check_is_first(layout, tiff)
            return None
        values, turn = declared_nodata(layout, reading.nodata), orientation(layout)
        pages, samples = find_bands(series, reading.bands)
        bytes_each = stored_bytes(pages, layout)
        with decoding(layout.imagewidth, layout.imagelength, bytes_each, limit):
            pixels = join_channels([_read_page(page, layout, samples, values) for page in pages])
            if (mask := mask_page(tiff, layout)) is not None:
                check_data(mask)
                pixels = without_masked(pixels, mask.asarray())
            rgb = upright(to_rgb(pixels, channel_axis=-1), turn)
            missing = missing_pixels(pixels)
            return ReadImage(
                rgb,
                None if missing is None else upright(missing, turn),
                warn_of_undeclared(pixels) or warn_of_partial_alpha(pixels),
            )


def _check_is_first(page: TiffPage, tiff: TiffFile) -> None:
    """Refuse an image that Pillow, which reads the first page, would not find."""
    if page.offset != tiff.pages.first.offset:
        msg = (
            "the file begins with a reduced copy of its image, whose colours are stored as "
            f"{PHOTOMETRIC(page.photometric).name}; save the image as RGB"
        )
        raise ImageError(msg)


def read_tiff_size(path: Path) -> tuple[int, int]:
    """Read (height, width) of a file's first image from its tags, upright."""
    with TiffFile(path) as tiff:
        page = first_series(tiff).keyframe
        size = page.imagelength, page.imagewidth
        return size[::-1] if orientation(page) >= 5 else size


def stored_bytes(pages: list[TiffPage | TiffFrame], layout: TiffPage) -> int:
    """Bytes of a pixel of pages that are decoded as a whole."""
    return len(pages) * layout.samplesperpixel * np.dtype(layout.dtype).itemsize


def join_channels(pages: list[np.ndarray]) -> np.ndarray:
    """Join the channels (H, W, C) of several pages; masked if one of them is."""
    if len(pages) == 1:
        return pages[0]
    masked = any(isinstance(page, np.ma.MaskedArray) for page in pages)
    return (np.ma if masked else np).concatenate(pages, axis=-1)


def mask_page(tiff: TiffFile, image: TiffPage) -> TiffPage | None:
    """Return the page in which GDAL keeps which pixels of an image hold data, if any."""
    after = dropwhile(lambda page: page.offset != image.offset, tiff.pages)
    # its reduced copies, and their masks, may come in between
    for page in islice(after, 1, None):
        # a frame has the layout of an image before it
        if isinstance(page, TiffFrame) or not _is_extra(page):
            return None
        if page.is_mask and page.shape == (image.imagelength, image.imagewidth):
            return page
    return None


def _is_extra(page: TiffPage) -> bool:
    """Whether a page only adds to an image."""
    return page.is_mask or page.is_reduced


def without_masked(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mark pixels (H, W, C) as missing where the file's own mask (H, W) is 0."""
    missing = np.ma.getmaskarray(pixels) | (mask == 0)[..., np.newaxis]
    return np.ma.MaskedArray(np.ma.getdata(pixels), missing)


def first_series(tiff: TiffFile) -> TiffPageSeries:
    """Return the series that the first image of a file belongs to, passing over reduced copies.

    Raises
    ------
    ImageError
        The file holds no image, or is truncated, see `check_pages`.
    """
    check_pages(tiff)
    if not tiff.series:
        msg = "the TIFF file contains no image, probably because it is truncated; get a new copy"
        raise ImageError(msg)
    # a reduced copy can come before the image
    full = (series for series in tiff.series if not _is_extra(series.keyframe))
    series = next(full, tiff.series[0])
    # tifffile falls back to single pages where those that ImageJ lists do not fit into the file
    if series.kind == "generic" and (tiff.imagej_metadata or {}).get("channels", 1) > 1:
        msg = "the file is truncated: it lacks channels that its ImageJ data lists; get a new copy"
        raise ImageError(msg)
    return series


def orientation(page: TiffPage) -> int:
    """Value of the orientation tag, see `upright`."""
    tag = page.tags.get(_ORIENTATION_TAG)
    return tag.value if tag else 1


def is_understood(page: TiffPage) -> bool:
    """Whether this module reads the colour space."""
    if page.photometric == PHOTOMETRIC.YCBCR:
        return page.compression == COMPRESSION.JPEG
    return page.photometric in (
        PHOTOMETRIC.MINISWHITE,
        PHOTOMETRIC.MINISBLACK,
        PHOTOMETRIC.RGB,
        PHOTOMETRIC.PALETTE,
    )


def find_bands(
    series: TiffPageSeries, bands: Sequence[int] | None = None
) -> tuple[list[TiffPage | TiffFrame], list[int]]:
    """Find the pages and samples that are an image's colours.

    Parameters
    ----------
    series
        The first page is the image, or there is one page per channel.
    bands
        Those to use, see `ReadSettings`.

    Returns
    -------
    pages, samples
        The pages to join, and which samples of each to use, from 0: grey, or red,
        green and blue, followed by alpha. Of a palette, these are samples of its
        colours.

    Raises
    ------
    ImageError
        The image lacks a band, or does not say which are its colours.
    """
    layout = series.keyframe
    # the axes that run over pages, such as TZC; those within a page are the last ones
    axes = series.axes[: len(series.shape) - len(layout.shape)]
    indices = [0]
    if "C" in axes and layout.axes == "YX":
        shape = series.shape[: len(axes)]
        count = shape[axes.index("C")]
        if bands is None and count != 3:
            raise _unclear_bands(count)
        channels = range(count) if bands is None else chosen_samples(bands, count)
        bands = None  # a page holds one of them
        # page number of each channel at the first time and depth
        indices = [
            int(np.ravel_multi_index([channel if axis == "C" else 0 for axis in axes], shape))
            for channel in channels
        ]
    samples = color_samples(layout, bands)
    return [_page_of(series, index) for index in indices], samples


def _page_of(series: TiffPageSeries, index: int) -> TiffPage | TiffFrame:
    page = series.keyframe
    if index and series.is_truncated:  # its data follow one another, with tags for the first only
        start = index * page.nbytes
        offsets = tuple(start + offset for offset in page.dataoffsets)
        counts = page.databytecounts
        return TiffFrame(
            page.parent, index, dataoffsets=offsets, databytecounts=counts, keyframe=page
        )
    try:
        found = series.pages[index]
    except IndexError:
        found = None
    if found is None:
        msg = (
            "a channel of the image is missing; put all files of the OME-TIFF into one folder, or "
            "get a new copy of one that is truncated"
        )
        raise ImageError(msg)
    return found


def _unclear_bands(count: int) -> ImageError:
    bands, shown = ("1", "(1,)") if count == 2 else ("3,2,1", "(3, 2, 1)")
    return ImageError(
        f"the image has {count} bands and does not say which are red, green and blue; choose "
        f"them, counted from 1, as `dinoiser label --bands {bands}` and, in Python, bands={shown} "
        "do"
    )


def _read_page(
    page: TiffPage | TiffFrame, layout: TiffPage, samples: list[int], nodata: tuple[float, ...]
) -> np.ndarray:
    """Decode one page to (H, W, C): grey, RGB or RGBA of any dtype."""
    check_data(page)
    pixels = _without_planes(page, layout, samples).asarray()
    # to: Y, X, S
    pixels = np.moveaxis(pixels, layout.axes.index("S"), -1) if "S" in layout.axes else pixels
    pixels = pixels.reshape(layout.imagelength, layout.imagewidth, -1)
    return to_colors(pixels, layout, samples, nodata)


def _without_planes(
    page: TiffPage | TiffFrame, layout: TiffPage, samples: list[int]
) -> TiffPage | TiffFrame:
    """Leave out the planes of other samples than those to use, so that they are not decoded."""
    each, rest = divmod(len(page.dataoffsets), layout.samplesperpixel)
    separate = layout.planarconfig == PLANARCONFIG.SEPARATE and not rest
    separate &= _palette(layout) is None  # whose samples are those of its colours
    # planes in one run are read at once; tables that all tiles of a JPEG share would be lost
    if not separate or layout.is_contiguous or page.jpegtables is not None:
        return page
    # nothing at 0 is how a file leaves a tile or strip out
    places = [
        place if i // each in samples else (0, 0)
        for i, place in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True))
    ]
    offsets, counts = zip(*places, strict=True)
    return TiffFrame(
        page.parent, page.index, dataoffsets=offsets, databytecounts=counts, keyframe=layout
    )


def to_colors(
    pixels: np.ndarray, layout: TiffPage, samples: list[int], nodata: tuple[float, ...] = ()
) -> np.ndarray:
    """Turn a page's samples (H, W, S), or a part of them, into grey, RGB or RGBA (H, W, C).

    It is a masked array if samples can be missing: those without data, and all of a
    pixel that is fully transparent, as GDAL takes alpha for a mask. Alpha is missing
    where all colours are.
    """
    palette = _palette(layout)
    if palette is None and samples != list(range(pixels.shape[-1])):
        pixels = pixels[..., samples]
    colors = _colors(pixels, layout) if palette is None else palette[pixels[..., 0]][..., samples]
    missing = missing_values(pixels if palette is None else pixels[..., :1], nodata)
    if has_alpha(samples):
        if missing is not None:
            missing[..., 3] = missing[..., :3].all(axis=-1)
        transparent = ~(pixels[..., 3:] > 0)
        if transparent.any():
            missing = transparent if missing is None else missing | transparent
    if missing is None:
        return colors
    return np.ma.MaskedArray(colors, np.broadcast_to(missing, colors.shape))


def has_alpha(samples: list[int]) -> bool:
    """Whether the samples to use, see `find_bands`, end with alpha."""
    return len(samples) == 4


def _palette(page: TiffPage) -> np.ndarray | None:
    """Colours of the samples' values, (2**bits, 3) uint8; None if the samples are colours."""
    if page.colormap is None or page.photometric != PHOTOMETRIC.PALETTE:
        return None
    # from: (3, 2**bits) of 16 bits
    return (page.colormap.T >> 8).astype(np.uint8)


def _colors(pixels: np.ndarray, layout: TiffPage) -> np.ndarray:
    """Turn the samples to use, (H, W, C), into colours."""
    if EXTRASAMPLE.ASSOCALPHA in layout.extrasamples and pixels.shape[2] == 4:
        pixels = _straight_alpha(pixels)
    return _black_to_white(pixels, layout)


def color_samples(page: TiffPage, bands: Sequence[int] | None = None) -> list[int]:
    """Return the indices of a page's grey or red, green and blue samples, followed by alpha.

    See `find_bands`. Where `bands` are chosen, a sample marked as alpha counts as that only if it
    is none of them, and the image has more than four.
    """
    if _palette(page) is not None:
        return [0, 1, 2] if bands is None else chosen_samples(bands, 3)
    count = page.samplesperpixel
    first_extra = count - len(page.extrasamples)
    alpha = [first_extra + i for i, kind in enumerate(page.extrasamples) if kind in _ALPHA][:1]
    if bands is not None:
        colors = chosen_samples(bands, count)
        # the fourth of four is often marked as alpha whatever it holds, as GDAL does
        alpha = [sample for sample in alpha if sample not in colors and count > 4]
    else:
        colors = [sample for sample in range(count) if sample not in alpha]
        if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR):
            colors = colors[:3]
        if len(colors) not in (1, 3):
            raise _unclear_bands(count)
    if alpha and len(colors) == 1:  # grey and alpha are read as RGBA
        colors *= 3
    return colors + alpha


def _straight_alpha(pixels: np.ndarray) -> np.ndarray:
    """Divide colours by the alpha with which they were multiplied."""
    opaque = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    alpha = pixels[..., 3:].astype(np.float64)
    colors = pixels[..., :3] * np.divide(opaque, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    if pixels.dtype.kind != "f":
        colors = np.rint(colors.clip(0, opaque))
    return np.concatenate([colors.astype(pixels.dtype), pixels[..., 3:]], axis=-1)


def _black_to_white(pixels: np.ndarray, page: TiffPage) -> np.ndarray:
    """Scale 2 to 7 bits to 8, and invert images in which 0 is white."""
    if pixels.dtype == np.uint8 and page.bitspersample < 8:
        pixels = (pixels.astype(np.uint16) * 255 // (2**page.bitspersample - 1)).astype(np.uint8)
    if page.photometric != PHOTOMETRIC.MINISWHITE:
        return pixels
    inverse = -pixels if pixels.dtype.kind == "f" else ~pixels
    inverse[..., 3:] = pixels[..., 3:]  # alpha, if there is any
    return inverse
