"""Resize images to their working size, as a whole or in pieces with the same result.

Columns are resized first, each row independently, then rows, with exact sums. So an image may be
cut into bands, and each part of the result is made from the bands that it needs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.segment.interpolation import cubic_weights, linear_weights

ROWS_AT_ONCE = 8  # made together, from all rows that any of them needs


def resize(
    image: Tensor, size: tuple[int, int], antialias: bool = True, cubic: bool = False
) -> Tensor:
    """Resize an image (3, H, W) uint8 to (3, h, w) uint8, bilinearly or bicubically.

    The result is within 1 (bicubically, 2) of `torch.nn.functional.interpolate`
    and Pillow, whose weights have fewer bits.
    """
    columns = resize_columns(image, size[1], antialias, cubic)
    return resize_rows(columns, 0, image.shape[1], size[0], slice(0, size[0]), antialias, cubic)


def resize_columns(image: Tensor, width: int, antialias: bool, cubic: bool = False) -> Tensor:
    """Resize rows (3, n, W) uint8 of an image to (3, n, w) uint8, each independently."""
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
    """Compute some rows of the resized image.

    Parameters
    ----------
    rows
        (3, n, w) uint8: the rows given by `interpolation.source`, or more.
    first
        Index of the first of them in the image.
    length, new_length
        Number of rows of the image before and after.
    places
        The new rows to compute.
    antialias, cubic
        As for the columns.

    Returns
    -------
    Tensor
        (3, places, w) uint8.
    """
    if length == new_length:
        return rows[:, places.start - first : places.stop - first]
    resized = torch.empty(3, places.stop - places.start, rows.shape[2], dtype=torch.uint8)
    for start in range(places.start, places.stop, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, places.stop)
        used, weights = _weights(length, new_length, start, stop, antialias, cubic)
        values = weights @ rows[:, used.start - first : used.stop - first].double()
        some = slice(start - places.start, stop - places.start)
        resized[:, some] = values.add_(0.5).clamp_(0, 255)  # rounds, as the assignment truncates
    return resized


@lru_cache(maxsize=1024)  # images of a folder often have the same size
def _weights(
    length: int, new_length: int, start: int, stop: int, antialias: bool, cubic: bool
) -> tuple[slice, Tensor]:
    weigh = cubic_weights if cubic else linear_weights
    return weigh(length, new_length, slice(start, stop), antialias)


def to_torch(pixels: np.ndarray) -> Tensor:
    """Convert pixels (n, w, 3) to (3, n, w)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def to_numpy(pixels: Tensor) -> np.ndarray:
    """Convert pixels (3, n, w) to (n, w, 3)."""
    return pixels.permute(1, 2, 0).contiguous().numpy()
