"""Draw a confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from dinoiser.evaluation.metrics import ConfusionMatrix

CELL = 38
MARGIN = 12
LETTERS = 24
"""Letters of a class's name that are drawn."""
MOST_WITH_NUMBERS = 40
"""Number of classes up to which percentages are drawn."""
FULL = np.array([23, 78, 137])
"""Colour of 100 %; 0 % is white."""


def draw_matrix(matrix: ConfusionMatrix) -> Image.Image:
    """Draw where the pixels of each true class went.

    Parameters
    ----------
    matrix
        The counted pixels. The last column is left out if it is empty.

    Returns
    -------
    Image
        RGB: true classes from top to bottom, predicted ones from left to right,
        and in each cell the percentage of the row.
    """
    counts = matrix.counts if matrix.counts[:, -1].any() else matrix.counts[:, :-1]
    shares = counts / np.maximum(matrix.counts.sum(1, keepdims=True), 1)
    rows = [_short(name) for name in matrix.names]
    columns = [*rows, "(none)"][: shares.shape[1]]
    font = ImageFont.load_default(13)
    side = 2 * MARGIN + int(max(font.getlength(name) for name in [*columns, "predicted"]))
    image = Image.new(
        "RGB", (side + CELL * len(columns) + MARGIN, side + CELL * len(rows) + MARGIN), "white"
    )
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, side - MARGIN), "true", "gray", font, anchor="ls")
    pen.text((side - MARGIN, MARGIN), "predicted", "gray", font, anchor="rt")
    for i, name in enumerate(rows):
        pen.text((side - MARGIN, side + CELL * i + CELL // 2), name, "black", font, anchor="rm")
    for j, name in enumerate(columns):
        _draw_upright(image, name, (side + CELL * j + CELL // 2, side - MARGIN), font)
    for (i, j), share in np.ndenumerate(shares):
        left, top = side + CELL * j, side + CELL * i
        color = tuple(np.round(255 + (FULL - 255) * share).astype(int).tolist())
        pen.rectangle((left, top, left + CELL - 2, top + CELL - 2), color)
        if share >= 0.005 and len(rows) <= MOST_WITH_NUMBERS:
            ink = "white" if share > 0.5 else "black"
            middle = (left + CELL // 2 - 1, top + CELL // 2 - 1)
            pen.text(middle, f"{100 * share:.0f}", ink, font, anchor="mm")
    return image


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def _draw_upright(
    image: Image.Image,
    text: str,
    foot: tuple[int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Draw a text from bottom to top, with its foot at a position."""
    left, top, right, bottom = (round(value) for value in font.getbbox(text))
    strip = Image.new("L", (right - left + 2, bottom - top + 4))
    ImageDraw.Draw(strip).text((-left, 1 - top), text, 255, font)
    turned = strip.rotate(90, expand=True)
    place = (foot[0] - turned.width // 2, foot[1] - turned.height)
    image.paste("black", place, turned)
