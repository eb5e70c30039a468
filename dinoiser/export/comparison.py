"""Draw models side by side: an image, each model's labels, and where they disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dinoiser.export.image_file import write_image
from dinoiser.export.overlay import blend, with_legend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from dinoiser.prompts import PromptSet

PANEL_WIDTH = 420  # pixels, as are the next two
FONT_SIZE = 20
MARGIN = 10
PANELS_PER_LINE = 5
"""Which fit the width of a screen; more models go on in the next line."""
GREY_SHARE = 0.5
"""Share of the image's brightness kept under the map of disagreement."""
DISAGREEMENT = np.array([255, 64, 32], np.float32)


class ComparisonRow(NamedTuple):
    """What to draw for one image.

    Attributes
    ----------
    title
        The image's name.
    image
        (H, W, 3) uint8 RGB.
    labels
        Class ids (H, W) of each model by its name, see `Segmentation`.
    answers
        (H, W) uint8, number of different classes given to each pixel.
    agreement
        Share in [0, 1] of the pixels on which all models agree.
    """

    title: str
    image: np.ndarray
    labels: dict[str, np.ndarray]
    answers: np.ndarray
    agreement: float


def build_comparison(rows: Sequence[ComparisonRow], prompts: PromptSet) -> Image:
    """Draw each image, the labels of each model and where they disagree, and a legend.

    The last panel shows the image in dark grey, with red where the models
    disagree: the more different classes they gave, the brighter.

    Parameters
    ----------
    rows
        One per image, all with the same models.
    prompts
        The classes that the labels refer to.

    Returns
    -------
    PIL.Image.Image
        RGB, panels `PANEL_WIDTH` pixels wide.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    line = FONT_SIZE + MARGIN
    drawn = [some for row in rows for some in _in_lines(_panels(row, prompts))]
    width = MARGIN + len(drawn[0]) * (PANEL_WIDTH + MARGIN)
    height = sum(line + panels[0][1].height for panels in drawn) + MARGIN
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    top = 0
    for panels in drawn:  # a line of titles above each line of panels
        for i, (title, panel) in enumerate(panels):
            left = MARGIN + i * (PANEL_WIDTH + MARGIN)
            text = _shorten(title, font)
            draw.text((left, top + line / 2), text, fill="black", font=font, anchor="lm")
            canvas.paste(panel, (left, top + line))
        top += line + panels[0][1].height
    # only classes that occur somewhere are in the legend
    given = {int(label) for row in rows for a in row.labels.values() for label in np.unique(a)}
    return with_legend(canvas, [c for c in prompts.classes if c.id in given])


def write_comparison(rows: Sequence[ComparisonRow], prompts: PromptSet, path: str | Path) -> None:
    """Write the image from `build_comparison` as PNG.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_image(build_comparison(rows, prompts), path)


def _panels(row: ComparisonRow, prompts: PromptSet) -> list[tuple[str, Image]]:
    """Draw the image, each model's labels over it and the disagreement, with their titles."""
    from PIL import Image

    pixels = _shrink(row.image)
    image = Image.fromarray(pixels)
    tinted = [
        (name, blend(image, _shrink(labels), prompts.palette))
        for name, labels in row.labels.items()
    ]
    disagreement = _draw_disagreement(pixels, _shrink(row.answers), len(tinted))
    title = f"agreement {row.agreement:.1%}"
    return [(row.title, image), *tinted, (title, Image.fromarray(disagreement))]


def _in_lines(panels: list[tuple[str, Image]]) -> list[list[tuple[str, Image]]]:
    """Divide the panels of an image into lines."""
    return [panels[i : i + PANELS_PER_LINE] for i in range(0, len(panels), PANELS_PER_LINE)]


def _draw_disagreement(image: np.ndarray, answers: np.ndarray, models: int) -> np.ndarray:
    """Grey where models agree, red where not; at full strength if all gave different classes."""
    grey = GREY_SHARE * image.astype(np.float32).mean(-1, keepdims=True).repeat(3, -1)
    strength = (0.5 + 0.5 * answers / models)[..., None] * (answers > 1)[..., None]
    return (grey * (1 - strength) + DISAGREEMENT * strength).astype(np.uint8)


def _shrink(pixels: np.ndarray) -> np.ndarray:
    """Resize an image or its labels to the width of a panel; labels keep their values."""
    from PIL import Image

    size = PANEL_WIDTH, max(1, round(pixels.shape[0] * PANEL_WIDTH / pixels.shape[1]))
    smooth = pixels.ndim == 3
    method = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def _shorten(title: str, font: FreeTypeFont | ImageFont) -> str:
    """Shorten a title from the front until it fits over a panel."""
    cut = title
    while font.getlength(cut) > PANEL_WIDTH:
        title = title[1:]
        cut = f"...{title}"
    return cut
