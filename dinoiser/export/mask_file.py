"""Find and open files of masks: PNG, or TIFF as programs for maps save them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL.Image import Image

PNG = (".png",)
TIFF = (".tif", ".tiff")
MASK_SUFFIXES = (*PNG, *TIFF)
"""Endings of masks, in upper or lower case."""


def find_mask_files(folder: Path) -> list[Path]:
    """List the PNG files in a folder and below, or where there are none, the TIFF files."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in MASK_SUFFIXES)
    files = sorted(path for path in found if path.is_file())
    return [path for path in files if path.suffix.lower() in PNG] or files


@contextmanager
def open_mask_file(path: Path) -> Iterator[Image]:
    """Open a mask of any size; a damaged one raises almost anything."""
    # neither has a limit of pixels, unlike Image.open
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile

    kind = TiffImageFile if path.suffix.lower() in TIFF else PngImageFile
    with path.open("rb") as file, kind(file) as image:
        yield image
