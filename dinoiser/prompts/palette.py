"""The classes' colours: stable, distinct, and safe for colour-blind users.

A class's default colour depends only on its id, so that adding a class never
changes the colours of the others.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageColor

from dinoiser.errors import PromptError, did_you_mean
from dinoiser.labels import IGNORE, ignore_label, label_type

if TYPE_CHECKING:
    from collections.abc import Iterable

BACKGROUND_COLOR = "#000000"
#: Colour of ignored pixels, as in PASCAL VOC's own masks.
IGNORE_COLOR = "#e0e0c0"

# Ids 1-7: Okabe and Ito (2008), "Color Universal Design", in their order without black.
# Ids 8-12: Tol (2021), "Colour Schemes", technical note SRON/EPS/TN/09-002: colours of its
# schemes bright, light, high-contrast and dark, of lightness 25 or more, chosen to differ most from
# the seven, from each other and from the two above, with normal vision and with deuteranopia,
# protanopia and tritanopia.
_FIRST_DOZEN = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    *("#aa3377", "#99ddff", "#004488", "#666633", "#663333"),
)
LATER = IGNORE - 1 - len(_FIRST_DOZEN)
"""Number of colours after the dozen if labels are bytes."""

_XYZ_OF_RGB = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65


def default_color(class_id: int) -> str:
    """Return the default colour of a class.

    Parameters
    ----------
    class_id
        From 0 (background) on.

    Returns
    -------
    str
        As ``#rrggbb``.
    """
    first = (BACKGROUND_COLOR, *_FIRST_DOZEN)
    if class_id < len(first):
        return first[class_id]
    later = _later_colors(LATER if class_id < IGNORE else None)
    return later[(class_id - len(first)) % len(later)]


@cache
def _later_colors(count: int | None) -> tuple[str, ...]:
    """Choose the colours of ids from 13 on, each farthest in CIELAB from all earlier ones.

    Without a count, of as many as there are; then the colours repeat.
    """
    # candidates: 16 levels per channel, without those too dark to tell from the background
    levels = np.arange(0, 256, 17)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _to_lab(grid)
    visible = lab[:, 0] >= 25
    grid, lab = grid[visible], lab[visible]
    # distance of each candidate to the nearest colour taken so far
    taken = [BACKGROUND_COLOR, IGNORE_COLOR, *_FIRST_DOZEN]
    start = _to_lab(np.array([ImageColor.getrgb(color)[:3] for color in taken]))
    distance = np.linalg.norm(lab[:, None] - start, axis=-1).min(axis=1)
    chosen = []
    for _ in range(count or np.count_nonzero(distance)):
        # rounded, so that ties do not depend on the last bit of a processor's cube root
        farthest = int(np.argmax(distance.round(4)))
        chosen.append("#{:02x}{:02x}{:02x}".format(*grid[farthest]))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[farthest], axis=-1))
    return tuple(chosen)


def _to_lab(colors: np.ndarray) -> np.ndarray:
    """CIELAB (N, 3) of colours (N, 3) from 0 to 255, as scikit-image computes it."""
    shares = colors / 255
    linear = np.where(shares > 0.04045, ((shares + 0.055) / 1.055) ** 2.4, shares / 12.92)
    xyz = linear @ _XYZ_OF_RGB.T / _WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def normalize_color(text: str) -> str:
    """Convert a colour to ``#rrggbb``.

    Parameters
    ----------
    text
        A CSS colour name, ``#rgb`` or ``#rrggbb``, in any case.

    Returns
    -------
    str
        The same colour as ``#rrggbb`` in lower case.

    Raises
    ------
    PromptError
        If the text is none of these.
    """
    color = text.strip().lower() if isinstance(text, str) else ""
    if color in ImageColor.colormap or (color.startswith("#") and len(color) in (4, 7)):
        try:
            return "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(color))
        except ValueError:
            pass
    msg = (
        f"unknown colour {text!r}{did_you_mean(color, ImageColor.colormap)}: "
        'write "#rrggbb" in quotation marks or a CSS name such as "tomato"'
    )
    raise PromptError(msg)


def label_colors(colors: dict[int, str]) -> dict[int, str]:
    """Return the colour of each label that a mask may hold: the classes' ids, 0 and ignored.

    Parameters
    ----------
    colors
        The classes' colours as ``#rrggbb`` by class id.
    """
    return {0: BACKGROUND_COLOR, ignore_label(label_type(colors)): IGNORE_COLOR, **colors}


def gray_colors(labels: Iterable[int]) -> dict[int, str]:
    """Return the colour of each label in grey masks of bytes: the grey of its own value.

    Labels that bytes do not hold all have the grey of ignored pixels, which tells none of them.
    """
    return {label: "#" + 3 * f"{min(label, IGNORE):02x}" for label in labels}


def palette(colors: dict[int, str]) -> np.ndarray:
    """Return the colour of every label.

    Parameters
    ----------
    colors
        The classes' colours as ``#rrggbb`` by class id.

    Returns
    -------
    ndarray
        Shape (256, 3), or (65536, 3) with ids above 254; uint8, RGB, indexed by
        label. The last is that of ignored pixels. Bytes without a class have
        their default colour; 16-bit labels, of which most have none, are black.
    """
    ignored = ignore_label(label_type(colors))
    known = label_colors(colors)
    if ignored == IGNORE:
        known = {label: default_color(label) for label in range(ignored)} | known
    table = np.zeros((ignored + 1, 3), np.uint8)
    table[list(known)] = [ImageColor.getrgb(color) for color in known.values()]
    return table
