"""TIFF files that are cut off: what they point at lies beyond their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import ImageError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage

# bytes of a value of each type of TIFF and BigTIFF, of which a tag stores a number
_VALUE_BYTES = np.zeros(2**16)
_VALUE_BYTES[1:19] = [1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8]
_MOST_TAGS = 4096  # of a page; tifffile, too, takes more for damage, and ends the chain there


def check_pages(tiff: TiffFile) -> None:
    """Refuse a file that lacks a page of its chain, or a tag of one of its pages.

    Metadata, channels and masks are often written last, and what is left without
    them looks like another image. An OME-TIFF, though, lists its pages in its
    metadata; some of its writers end the chain with a link to nowhere.

    Raises
    ------
    ImageError
        The file is truncated.
    """
    offset, seen = _first_page(tiff), set[int]()
    while offset and offset not in seen:
        if seen and offset >= tiff.filehandle.size and tiff.is_ome:
            break
        seen.add(offset)
        offset = _check_page(tiff, offset)
    # the image can lie below its reduced copy, as in raw photographs
    if tiff.pages and tiff.pages.first.is_reduced:
        for offset in tiff.pages.first.subifds or ():
            _check_page(tiff, offset)


def check_data(page: TiffPage | TiffFrame) -> None:
    """Refuse a page whose pixels are not all in the file."""
    # a truncated JPEG-compressed page would silently be filled with grey
    size = page.parent.filehandle.size
    segments = zip(page.dataoffsets, page.databytecounts, strict=True)
    end = max(offset + bytecount for offset, bytecount in segments)
    if end > size:
        raise _truncated(size, end)


def _truncated(size: int, end: int) -> ImageError:
    return ImageError(
        f"the file is truncated: it has {size:,} of at least {end:,} bytes; get a new copy"
    )


def _first_page(tiff: TiffFile) -> int:
    tiff.filehandle.seek(8 if tiff.is_bigtiff else 4)
    return _read_number(tiff, tiff.tiff.offsetsize)


def _check_page(tiff: TiffFile, offset: int) -> int:
    """Refuse a page whose tags are not all in the file; return the offset of the next one."""
    file, layout = tiff.filehandle, tiff.tiff
    file.seek(offset)
    count = _read_number(tiff, layout.tagnosize)
    if count > _MOST_TAGS:
        return 0
    end = offset + layout.tagnosize + count * layout.tagsize + layout.offsetsize
    if end > file.size:
        raise _truncated(file.size, end)
    # a tag has a code, a type, and the number of its values, then these, or where they are if they
    # are larger than the place for that
    inline = (layout.tagsize - 4) // 2
    number = f"{tiff.byteorder}u{inline}"
    entry = [("code", "u2"), ("type", f"{tiff.byteorder}u2"), ("count", number), ("value", number)]
    tags = np.frombuffer(file.read(count * layout.tagsize), entry)
    # as floats, which damage cannot make overflow
    sizes = _VALUE_BYTES[tags["type"]] * tags["count"]
    end = int((tags["value"] + sizes)[sizes > inline].max(initial=0))
    if end > file.size:
        raise _truncated(file.size, end)
    return _read_number(tiff, layout.offsetsize)


def _read_number(tiff: TiffFile, size: int) -> int:
    return int.from_bytes(tiff.filehandle.read(size), "little" if tiff.byteorder == "<" else "big")
