"""Images at their working size: whole, or the same numbers in pieces.

Columns first, each row by itself; then rows, with exact sums. So an image may be cut into bands
and each part of the result made of those that it needs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.segment.interpolation import cubic_weights, linear_weights

ROWS_AT_ONCE = 32


def resize(
    image: Tensor, size: tuple[int, int], antialias: bool = True, cubic: bool = False
) -> Tensor:
    """Resize an image (3, H, W) uint8 to (3, h, w) uint8, bilinearly or bicubically.

    Within 1, and bicubically 2, of `torch.nn.functional.interpolate` and of
    Pillow, whose weights have fewer bits.
    """
    columns = resize_columns(image, size[1], antialias, cubic)
    return resize_rows(columns, 0, image.shape[1], size[0], slice(0, size[0]), antialias, cubic)


def resize_columns(image: Tensor, width: int, antialias: bool, cubic: bool = False) -> Tensor:
    """Resize rows (3, n, W) uint8 of an image to (3, n, w) uint8; no row depends on another."""
    rows = image.shape[1]
    if image.shape[2] == width:
        return image
    mode = "bicubic" if cubic else "bilinear"
    return F.interpolate(
        image[None], (rows, width), mode=mode, align_corners=False, antialias=antialias
    )[0]


def resize_rows(
    rows: Tensor,
    first: int,
    length: int,
    new_length: int,
    places: slice,
    antialias: bool,
    cubic: bool = False,
) -> Tensor:
    """Make some rows of the resized image.

    Parameters
    ----------
    rows
        (3, n, w) uint8: the rows that `interpolation.source` names, or more.
    first
        Which row of the image the first of them is.
    length, new_length
        Rows of the image before and after.
    places
        The new rows.

    Returns
    -------
    Tensor
        (3, places, w) uint8.
    """
    if length == new_length:
        return rows[:, places.start - first : places.stop - first]
    weigh = cubic_weights if cubic else linear_weights
    resized = torch.empty(3, places.stop - places.start, rows.shape[2], dtype=torch.uint8)
    for start in range(places.start, places.stop, ROWS_AT_ONCE):
        some = slice(start, min(start + ROWS_AT_ONCE, places.stop))
        used, weights = weigh(length, new_length, some, antialias)
        values = weights @ rows[:, used.start - first : used.stop - first].double()
        some = slice(some.start - places.start, some.stop - places.start)
        resized[:, some] = values.add_(0.5).clamp_(0, 255)  # which drops the fraction
    return resized


def to_torch(pixels: np.ndarray) -> Tensor:
    """Pixels (n, w, 3) as (3, n, w)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def to_numpy(pixels: Tensor) -> np.ndarray:
    """Pixels (3, n, w) as (n, w, 3)."""
    return pixels.permute(1, 2, 0).contiguous().numpy()
