"""Read TIFF files in parts that are too large to be decoded at once."""

from __future__ import annotations

import math
import os
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from tifffile import (
    COMPRESSION,
    PHOTOMETRIC,
    PLANARCONFIG,
    TiffFile,
    TiffFileError,
    TiffFrame,
    TiffPage,
)

from dinoiser.errors import ImageError, InputError, reason_of
from dinoiser.images.arrays import to_rgb, upright
from dinoiser.images.nodata import (
    declared_nodata,
    missing_pixels,
    warn_of_partial_alpha,
    warn_of_undeclared,
)
from dinoiser.images.pixel_limit import (
    MAX_PIXELS_VARIABLE,
    check_pixels,
    fits,
    pixel_limit,
)
from dinoiser.images.scaling import percentile_range, sample_step, stretch
from dinoiser.images.settings import AS_STORED
from dinoiser.images.tiff import (
    find_bands,
    first_series,
    has_alpha,
    is_understood,
    join_channels,
    mask_page,
    orientation,
    stored_bytes,
    to_colors,
    without_masked,
)
from dinoiser.images.truncated import check_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dask.array as da
    from tifffile import TiffPageSeries

    from dinoiser.images.settings import ReadSettings

LARGE_PIXELS = 2**28
"""TIFF files with more pixels than this are read in parts (about 16,000 x 16,000)."""
SEGMENT_BYTES = 2**28
"""Largest decoded size of a tile or strip, as each is held in memory as a whole."""
LOOKED_AT = 512
"""Pixels in the middle, down and across, by which alpha is told from another band."""
_JPEG: tuple[int, ...] = (
    COMPRESSION.OJPEG,
    COMPRESSION.JPEG,
    COMPRESSION.JPEG_LOSSY,
    COMPRESSION.ALT_JPEG,
)
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_large_tiff(path: str | Path, reading: ReadSettings = AS_STORED) -> bool:
    """Whether a file is a TIFF to be read in parts; False for anything unreadable.

    Such a file has more than `LARGE_PIXELS`, or so many bands that `read_image`
    would refuse it. A kind that can only be read as a whole counts only where it
    has too many pixels for that, for a better message.
    """
    if not Path(path).is_file():  # opening a pipe would block until it has a writer
        return False
    try:
        with Path(path).open("rb") as file:
            if file.read(4) not in _SIGNATURES:
                return False
        with TiffFile(path) as tiff:
            series = first_series(tiff)
            page, limit = series.keyframe, pixel_limit()
            pixels = page.imagewidth * page.imagelength
            if _obstacle(series, reading):
                return pixels > limit
            pages, _ = find_bands(series, reading.bands)
            return pixels > LARGE_PIXELS or not fits(pixels, stored_bytes(pages, page), limit)
    except Exception:  # read_image reports what is wrong with it
        return False


@contextmanager
def open_large_tiff(path: str | Path, reading: ReadSettings = AS_STORED) -> Iterator[LargeTiff]:
    """Open the first image of a TIFF file for reading in parts.

    Parameters
    ----------
    path
        The file.
    reading
        See `read_with_missing`.

    Raises
    ------
    ImageError
        The file is damaged or cut off, its tiles or strips are too large, or
        it is of a kind that can only be read as a whole.
    """
    try:
        with ExitStack() as stack:
            with _damage_told():
                tiff = stack.enter_context(TiffFile(path))
                image = _large_tiff(tiff, reading)
            yield image
    except (ImageError, TiffFileError) as error:
        msg = f"{path}: {error}"
        raise ImageError(msg) from error


def _large_tiff(tiff: TiffFile, reading: ReadSettings) -> LargeTiff:
    series = first_series(tiff)
    layout = series.keyframe
    # reading in parts needs no limit against memory; one set by the user still counts
    if MAX_PIXELS_VARIABLE in os.environ:
        check_pixels(layout.imagewidth, layout.imagelength, pixel_limit())
    if obstacle := _obstacle(series, reading):
        msg = f"{obstacle}, which cannot be read in parts; save it as tiled 8-bit RGB"
        raise ImageError(msg)
    nodata = declared_nodata(layout, reading.nodata)
    return LargeTiff(*find_bands(series, reading.bands), layout, nodata, mask_page(tiff, layout))


@contextmanager
def _damage_told() -> Iterator[None]:
    """Turn what tifffile and decoders raise on damaged files, which is almost anything."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        why = reason_of(error)
        msg = f"the file is damaged or of an unusual kind ({why}); get a new copy of it"
        raise ImageError(msg) from error


class LargeTiff:
    """An image whose tiles or strips are decoded on demand.

    Attributes
    ----------
    size
        (H, W) in pixels, upright.
    warning
        See `dinoiser.images.nodata.ReadImage`; known once `pixels` was called.
    """

    def __init__(
        self,
        pages: list[TiffPage | TiffFrame],
        samples: list[int],
        layout: TiffPage,
        nodata: tuple[float, ...] = (),
        mask: TiffPage | None = None,
    ) -> None:
        for page in [*pages, *([mask] if mask else [])]:
            check_data(page)
        # the lock: seek and read on the shared file handle must not interleave
        self._pages, self._layout, self._turns = pages, layout, threading.Lock()
        self._samples, self._nodata, self._mask = samples, nodata, mask
        self._dtype = np.dtype(layout.dtype)
        self._stored = (layout.imagelength, layout.imagewidth)
        # uncompressed and contiguous: mapped, so that chunks can be cut anywhere
        in_one_run = layout.is_memmappable and all(_is_one_run(page) for page in pages)
        self._mapped = [_map(page, layout) for page in pages] if in_one_run else []
        self._segment = (1, 1) if in_one_run else _segment(layout)
        if not in_one_run:
            _check_segments(pages, layout)
        if mask is not None:
            _check_segments([mask], mask)
        turned = orientation(layout) in (5, 6, 7, 8)
        self.size = self._stored[::-1] if turned else self._stored
        self.warning: str | None = None

    @_damage_told()
    def pixels(self, chunk: tuple[int, int]) -> da.Array:
        """Plan reading the image as RGB, with the values that `dinoiser.read_image` gives.

        Images with more than 8 bits are read once beforehand, to sample the
        percentiles between which they are stretched.

        Parameters
        ----------
        chunk
            Smallest (rows, columns) of a chunk as stored in the file; it is
            rounded up to whole tiles or strips.

        Returns
        -------
        dask.array.Array
            (H, W, 3) uint8, upright, to be computed by threads in this process.

        Raises
        ------
        ImageError
            A tile or strip is damaged.
        """
        import dask.array as da  # slow to import, and other images do not need it

        samples = self._in_chunks(chunk)
        to_eight_bits: Callable = partial(to_rgb, channel_axis=-1)
        if samples.dtype.kind != "b" and samples.dtype != np.uint8:
            # sampled over the whole image, as read_image does, not chunk by chunk
            step = sample_step(*self._stored)
            sample = samples[::step, ::step].compute(scheduler="threads")
            self.warning = warn_of_undeclared(sample)
            known = np.ma.getdata(sample)[~np.ma.getmaskarray(sample)]
            to_eight_bits = partial(_stretch, *percentile_range(known))
        elif has_alpha(self._samples):
            middle = (slice(n // 2, min(n, n // 2 + LOOKED_AT)) for n in self._stored)
            self.warning = warn_of_partial_alpha(self._read_colors(*middle))
        chunks = (*samples.chunks[:2], (3,))
        rgb: Any = da.map_blocks(to_eight_bits, samples, chunks=chunks, **_described(np.uint8))
        return upright(rgb, orientation(self._layout))  # type: ignore[return-value]

    def missing(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Find the pixels without data in a part of the upright image.

        Returns
        -------
        np.ndarray or None
            (H, W) bool; None if there are none.
        """
        if not self._nodata and self._mask is None and not has_alpha(self._samples):
            return None
        turn, (height, width) = orientation(self._layout), self.size
        # from upright to stored: what `upright` does, backwards
        if turn in (2, 3, 6, 7):
            columns = slice(width - columns.stop, width - columns.start)
        if turn in (3, 4, 7, 8):
            rows = slice(height - rows.stop, height - rows.start)
        if turn in (5, 6, 7, 8):
            rows, columns = columns, rows
        found = missing_pixels(self._read_colors(rows, columns))
        return None if found is None else upright(found, turn)

    def _in_chunks(self, least: tuple[int, int]) -> da.Array:
        """Cut the image (H, W, C), of any dtype, into chunks of whole tiles or strips."""
        import dask.array as da

        rows, columns = (
            side * math.ceil(min(size, length) / side)
            for side, size, length in zip(self._segment, least, self._stored, strict=True)
        )
        # one converted pixel tells how many channels a page has as colours, and their dtype
        one = self._to_colors(np.zeros((1, 1, self._layout.samplesperpixel), self._dtype))
        shape = (*self._stored, one.shape[2] * len(self._pages))
        chunks = da.core.normalize_chunks((rows, columns, -1), shape)
        return da.map_blocks(
            self._read_chunk, chunks=chunks, name=f"tiff-{uuid4().hex}", **_described(one.dtype)
        )

    @_damage_told()
    def _read_chunk(self, block_info: dict) -> np.ndarray:
        rows, columns, _ = (slice(*span) for span in block_info[None]["array-location"])
        return self._read_colors(rows, columns)

    def _read_colors(self, rows: slice, columns: slice) -> np.ndarray:
        """Read a part of the image as stored, masked where the file can hold missing values."""
        if self._mapped:
            parts = [np.asarray(samples[rows, columns]) for samples in self._mapped]
        else:
            planes = sorted(set(self._samples)) if _has_planes(self._layout) else [0]
            parts = [self._read(page, self._layout, planes, rows, columns) for page in self._pages]
        colors = join_channels([self._to_colors(part) for part in parts])
        if self._mask is None:
            return colors
        mask = self._read(self._mask, self._mask, [0], rows, columns)
        return without_masked(colors, mask[..., 0])

    def _to_colors(self, pixels: np.ndarray) -> np.ndarray:
        return to_colors(pixels, self._layout, self._samples, self._nodata)

    def _read(
        self,
        page: TiffPage | TiffFrame,
        layout: TiffPage,
        planes: list[int],
        rows: slice,
        columns: slice,
    ) -> np.ndarray:
        """Read samples (rows, columns, S) of a page; of separate planes, those named."""
        height, width = _segment(layout)
        size = (rows.stop - rows.start, columns.stop - columns.start, layout.samplesperpixel)
        down, across = math.ceil(layout.imagelength / height), math.ceil(layout.imagewidth / width)
        segments = product(
            planes,
            range(rows.start // height, math.ceil(rows.stop / height)),
            range(columns.start // width, math.ceil(columns.stop / width)),
        )
        # the file lists tiles row by row, and separate planes one after the other
        decoded = (
            (plane, i, j, self._decode(page, layout, (plane * down + i) * across + j))
            for plane, i, j in segments
        )
        # one is decoded before there is memory for all: damage makes a size of any number
        first = next(decoded)
        samples = np.full(size, layout.nodata, np.dtype(layout.dtype))
        for plane, i, j, pixels in chain([first], decoded):
            if pixels is not None:  # else the file leaves it out: all pixels are nodata
                top, left = i * height - rows.start, j * width - columns.start
                _place(samples[..., plane:], pixels, top, left)
        return samples

    def _decode(
        self, page: TiffPage | TiffFrame, layout: TiffPage, index: int
    ) -> np.ndarray | None:
        """Decode a tile or strip to (rows, columns, S)."""
        file, count = page.parent.filehandle, page.databytecounts[index]
        with self._turns:
            file.seek(page.dataoffsets[index])
            data = file.read(count) if count else None
        # the tiles of a JPEG page share the tables stored in its tags
        tables = {}
        if layout.compression in _JPEG:
            tables = {"jpegtables": page.jpegtables, "jpegheader": layout.jpegheader}
        try:
            pixels, _, _ = layout.decode(data, index, **tables)
        except Exception as error:  # decoders raise almost anything on damaged files
            msg = f"tile or strip {index} cannot be decoded ({error}); get a new copy of the file"
            raise ImageError(msg) from error
        return None if pixels is None else pixels[0]


def _place(samples: np.ndarray, pixels: np.ndarray, top: int, left: int) -> None:
    """Copy a tile to its place (top, left), of which a part may lie outside."""
    rows = slice(max(top, 0), min(top + pixels.shape[0], samples.shape[0]))
    columns = slice(max(left, 0), min(left + pixels.shape[1], samples.shape[1]))
    inside = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    samples[rows, columns, : pixels.shape[2]] = inside


def _check_segments(pages: list[TiffPage | TiffFrame], layout: TiffPage) -> None:
    """Refuse a size for which the file lists too few tiles or strips."""
    # planning to read them would take memory in proportion to a number that nothing stands for
    height, width = _segment(layout)
    planes = layout.samplesperpixel if _has_planes(layout) else 1
    needed = planes * math.ceil(layout.imagelength / height) * math.ceil(layout.imagewidth / width)
    listed = min(len(page.dataoffsets) for page in pages)
    if listed < needed:
        msg = f"the file lists {listed:,} of {needed:,} tiles or strips; get a new copy of the file"
        raise ImageError(msg)


def _is_one_run(page: TiffPage | TiffFrame) -> bool:
    """Whether a page's strips are contiguous in the file."""
    ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
    return all(end == start for end, start in zip(ends, page.dataoffsets[1:], strict=False))


def _map(page: TiffPage | TiffFrame, layout: TiffPage) -> np.ndarray:
    """Map the samples (H, W, S) of an uncompressed page without reading them."""
    dtype = np.dtype(layout.parent.byteorder + np.dtype(layout.dtype).char)
    path = page.parent.filehandle.path
    mapped = np.memmap(path, dtype, "r", page.dataoffsets[0], layout.shape)
    # to: Y, X, S
    mapped = np.moveaxis(mapped, layout.axes.index("S"), -1) if "S" in layout.axes else mapped
    return mapped.reshape(layout.imagelength, layout.imagewidth, -1)


def _has_planes(page: TiffPage) -> bool:
    return page.planarconfig != PLANARCONFIG.CONTIG


def _segment(page: TiffPage) -> tuple[int, int]:
    """Rows and columns of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _obstacle(series: TiffPageSeries, reading: ReadSettings) -> str | None:
    """Say why an image cannot be read in parts; None if each part equals that of the whole."""
    page = series.keyframe
    dtype, segment = np.dtype(page.dtype), _segment(page)
    if not is_understood(page) or page.imagedepth != 1:
        return f"its colours are stored as {PHOTOMETRIC(page.photometric).name}"
    # whether floats lie within [0, 1], which decides how they are scaled, takes all pixels to know
    if dtype.kind not in "bui":
        return f"its values are {dtype}"
    # percentiles are taken of visible pixels only, and what is opaque depends on all of them
    if has_alpha(find_bands(series, reading.bands)[1]) and dtype != np.uint8:
        return f"it has transparency with {page.bitspersample} bits"
    size = math.prod(segment) * page.samplesperpixel * dtype.itemsize
    if size > SEGMENT_BYTES and not page.is_memmappable:
        kind = "tiles" if page.is_tiled else "strips"
        return f"its {kind} are {segment[1]:,} x {segment[0]:,} pixels each"
    return None


def _described(dtype: np.dtype | type) -> dict[str, Any]:
    """Keywords that keep dask from calling the function to find out its dtype."""
    return {"dtype": dtype, "meta": np.empty((0, 0, 0), dtype)}


def _stretch(low: float, high: float, pixels: np.ndarray) -> np.ndarray:
    scaled = stretch(np.ma.getdata(pixels), low, high)
    scaled[np.ma.getmaskarray(pixels)] = 0
    return to_rgb(scaled, channel_axis=-1)
