"""Previews: the image tinted with class colours, outlined in full colour, and a legend."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.atomic import write_file
from dinoiser.labels import present_labels

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from dinoiser.prompts import PromptClass, PromptSet
    from dinoiser.segmentation import Segmentation

OPACITY = 0.55
BACKGROUND_OPACITY = 0.35
OUTLINE_SHARE = 1 / 400
"""Width of outlines as a share of the longer side; at least two pixels, to survive JPEG."""
LONGEST_SIDE = 1600
"""Larger previews are shrunk by a whole number to at most this; masks keep the image's size."""
QUALITY = 90
"""Of JPEG, from 1 to 100."""
NARROWEST = 160
"""Pixels that a legend has at least; narrower previews are white beside the image."""
ROWS_AT_ONCE = 64  # of the preview: Pillow copies its input, so a large image goes in bands


def preview_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (h, w) of the preview, without its legend, of an image of a size (H, W)."""
    height, width = size
    factor = _shrunk_by(size)
    return ceil(height / factor), ceil(width / factor)


def build_overlay(image: np.ndarray, labels: np.ndarray, prompts: PromptSet) -> Image:
    """Tint an image with its labels' colours, outline them, and add a legend below.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    labels
        (H, W) class ids of the same image. Background keeps the
        image's own colours, darkened; ignored pixels get the palette's
        ignore colour.
    prompts
        The classes that the labels refer to.

    Returns
    -------
    PIL.Image.Image
        RGB, longest side at most `LONGEST_SIDE` before the legend.
    """
    from PIL import Image

    shrunk = _shrink(image)
    small = np.asarray(Image.fromarray(labels).resize(shrunk.size, Image.Resampling.NEAREST))
    shown = set(present_labels(small).tolist())
    legend = [c for c in prompts.classes if c.id in shown]
    return with_legend(blend(shrunk, small, prompts.palette), legend)


def _shrunk_by(size: tuple[int, int]) -> int:
    return ceil(max(size) / LONGEST_SIDE)


def _shrink(image: np.ndarray) -> Image:
    """Shrink an image (H, W, 3) uint8 to its preview; whole numbers are quick, and sharp."""
    from PIL import Image

    height, width = preview_size(image.shape[:2])
    factor = _shrunk_by(image.shape[:2])
    shrunk = Image.new("RGB", (width, height))
    for top in range(0, height, ROWS_AT_ONCE):
        rows = image[top * factor : (top + ROWS_AT_ONCE) * factor]
        shrunk.paste(Image.fromarray(rows).reduce(factor), (0, top))
    return shrunk


def blend(image: Image, labels: np.ndarray, colors: np.ndarray) -> Image:
    """Tint an RGB image with the colours (L, 3) uint8 of its labels (H, W).

    Outlines have the pure colours, so that a legend can be matched.
    """
    from PIL import Image

    opacity = np.full((len(colors), 1), round(255 * OPACITY), np.uint8)
    opacity[0] = round(255 * BACKGROUND_OPACITY)
    # a label's colour and opacity as one number of four bytes, to be looked up at once
    table = np.hstack([colors, opacity]).view(np.uint32)[:, 0]
    tint = table.take(labels)[..., None].view(np.uint8)  # (H, W, 4)
    tint[..., 3][outline(labels)] = 255
    over = Image.fromarray(tint)
    return Image.composite(over, image, over)


def outline(labels: np.ndarray) -> np.ndarray:
    """Outlines (H, W) bool of all labels (H, W) except background, inside their borders."""
    edges = np.zeros(labels.shape, bool)
    width = max(2, round(max(labels.shape) * OUTLINE_SHARE))
    # down the rows, then across the columns: .T is a view, so both write into `edges`
    for along, found in ((labels, edges), (labels.T, edges.T)):
        for step in range(1, width + 1):
            differs = along[step:] != along[:-step]
            found[step:] |= differs
            found[:-step] |= differs
    return edges & (labels != 0)


def write_overlay(image: np.ndarray, segmentation: Segmentation, path: str | Path) -> None:
    """Write the preview of an image as JPEG.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    segmentation
        Of the same image.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_label_overlay(image, segmentation.labels, segmentation.prompts, path)


def write_label_overlay(
    image: np.ndarray, labels: np.ndarray, prompts: PromptSet, path: str | Path
) -> None:
    """Write the preview of an image from its labels, for example from its mask.

    Parameters
    ----------
    image, labels, prompts
        See `build_overlay`.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import imagecodecs

    overlay = np.asarray(build_overlay(image, labels, prompts))
    # unlike Pillow, it lets other threads go on
    encoded = imagecodecs.jpeg8_encode(overlay, level=QUALITY, subsampling="420")
    write_file(path, encoded)


def with_legend(image: Image, classes: list[PromptClass]) -> Image:
    """Add colour swatches and names under an image, in as many lines as needed."""
    from PIL import Image, ImageDraw, ImageFont

    # font size and side of a swatch in pixels
    size = int(np.clip(max(image.size) / 45, 12, 28))
    font = ImageFont.load_default(size)
    width = max(image.width, NARROWEST)
    places, height = _lay_out(classes, font, size, width)
    canvas = Image.new("RGB", (width, image.height + height), "white")
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for c, (x, y) in zip(classes, places, strict=True):
        top = image.height + y
        draw.rectangle((x, top, x + size, top + size), fill=c.color, outline="black")
        draw.text((x + 1.4 * size, top + size / 2), c.name, fill="black", font=font, anchor="lm")
    return canvas


def _lay_out(
    classes: list[PromptClass], font: FreeTypeFont | ImageFont, size: int, width: int
) -> tuple[list[tuple[int, int]], int]:
    """Lay out legend entries: their top left corners, and the height of all lines."""
    gap = size // 2
    places, x, y = [], gap, gap
    for c in classes:
        entry = int(1.4 * size + font.getlength(c.name)) + 2 * gap
        if x > gap and x + entry > width:
            x, y = gap, y + size + gap
        places.append((x, y))
        x += entry
    return places, (y + size + gap if classes else 0)
