"""Indexed PNG masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoiser.atomic import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from dinoiser.segmentation import Segmentation


def build_mask(segmentation: Segmentation) -> Image:
    """Palette picture whose indices are the labels and whose colours are the classes'."""
    from PIL import Image

    mask = Image.fromarray(segmentation.labels, "L")
    mask.putpalette(segmentation.prompts.palette.tobytes(), "RGB")
    return mask


def write_png(segmentation: Segmentation, path: str | Path) -> None:
    """Write labels as an indexed PNG.

    Parameters
    ----------
    segmentation
        Its labels become the palette indices: class ids, 0 = background,
        255 = ignore.
    path
        The file; its folder is made when missing.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    mask = build_mask(segmentation)
    with atomic_file(path) as file:
        mask.save(file, "PNG")
