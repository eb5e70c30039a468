"""Find the labels in a mask as programs save it: by palette, by colour or by grey value."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.labels import IGNORE, IGNORE_16, ignore_among

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

_NONE = -1
"""Stands for a colour that is not that of one label."""
_GREY_16 = ("I", "I;16")


def find_labels(mask: Image.Image, colors: Mapping[int, str] | None) -> np.ndarray:
    """Find the label of every pixel.

    A pixel has the label whose colour it has. Where not all colours are those
    of labels, but all are grey and their values are labels, the values count.

    Parameters
    ----------
    mask
        An indexed, grey or coloured image.
    colors
        Colour of each label that may occur, as "#rrggbb". If None, palette
        indices or grey values are the labels.

    Returns
    -------
    ndarray
        (H, W) labels: uint16 where there are colours of labels above 255 or, without
        colours, for a mask of 16 bits; otherwise uint8.

    Raises
    ------
    ValueError
        The labels cannot be told; the message ends a sentence that begins with
        the mask.
    """
    if colors is None and mask.mode not in ("P", "L", *_GREY_16):
        msg = (
            f"has Pillow mode {mask.mode!r}, expected palette indices or grey values, as the "
            "classes' colours are not known here"
        )
        raise ValueError(msg)
    wide = max(colors or (), default=0) > IGNORE
    if mask.mode in _GREY_16 and (wide or colors is None):
        return _read_16_bits(mask, colors)
    entries, indices = _entries(mask)
    dtype = np.uint16 if wide else np.uint8
    if colors is None:
        return indices.astype(dtype)
    # a histogram counts bytes several times as fast as sorting them does
    is_bytes = mask.mode in ("P", "L")
    used = np.flatnonzero(mask.histogram()) if is_bytes else np.unique(indices)
    labels = _labels_of(entries[used], colors, used if mask.mode == "P" else None)
    if labels == used.tolist():
        return indices.astype(dtype)
    table = np.zeros(len(entries), dtype)
    table[used] = labels
    return table[indices]


def _read_16_bits(mask: Image.Image, colors: Mapping[int, str] | None) -> np.ndarray:
    """Read labels (H, W) uint16 that no palette has room for: the grey values."""
    labels = np.asarray(mask).astype(np.uint16)
    if colors is not None and len(unknown := np.setdiff1d(labels, [*colors, IGNORE_16])):
        msg = f"has the grey value {unknown[0]}, expected ids of the classes"
        raise ValueError(msg)
    return labels


def _entries(mask: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Divide a mask into its colours, (N, 4) uint8 RGBA, and each pixel's, (H, W) integers."""
    if mask.mode == "P":
        mask.apply_transparency()
        palette = np.array(mask.getpalette("RGBA"), np.uint8).reshape(-1, 4)
        # indices beyond a palette that was cut short have no colour, as if transparent
        entries = np.zeros((256, 4), np.uint8)
        entries[: len(palette)] = palette
        return entries, np.asarray(mask)
    if mask.mode in ("L", *_GREY_16):
        values = np.asarray(mask)
        if mask.mode in _GREY_16:  # written when there were more classes
            values = np.where(values == IGNORE_16, IGNORE, values)
        if values.max() > 255:
            msg = f"has the grey value {values.max()}, expected class ids up to 255"
            raise ValueError(msg)
        grey = np.arange(256, dtype=np.uint8)
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=1), values
    if mask.mode == "1":
        msg = "has one bit per pixel, which cannot hold class ids or the colours of classes"
        raise ValueError(msg)
    # (H, W, 4) bytes -> (H, W) 4-byte integers, of which equal colours are the same
    pixels = np.asarray(mask.convert("RGBA"))
    codes, indices = np.unique(pixels.view(np.uint32)[..., 0], return_inverse=True)
    return codes[:, np.newaxis].view(np.uint8), indices.reshape(pixels.shape[:2])


def _labels_of(
    entries: np.ndarray, colors: Mapping[int, str], indices: np.ndarray | None
) -> list[int]:
    """Label of each colour (N, 4) uint8 RGBA; with a palette, `indices` are the colours' places."""
    names = ["#{:02x}{:02x}{:02x}".format(*entry[:3]) for entry in entries]
    opaque = entries[:, 3] == 255
    if not opaque.all():
        msg = f"has transparent pixels, of the colour {names[np.argmin(opaque)]}, expected none"
        raise ValueError(msg)
    # bytes that were written when there were fewer classes: the largest still means ignored
    ignored = ignore_among(colors)
    # a palette in which every label has its colour is the classes' own, even if two share one
    if indices is not None:
        places = [ignored if index == IGNORE else index for index in indices.tolist()]
        if names == [colors.get(place) for place in places]:
            return places
    several = Counter(colors.values())
    by_name = {color: label for label, color in colors.items() if several[color] == 1}
    by_color = [by_name.get(name, _NONE) for name in names]
    is_grey = (entries[:, :1] == entries[:, :3]).all()
    values = [ignored if value == IGNORE else value for value in entries[:, 0].tolist()]
    by_value = values if is_grey and set(values) <= colors.keys() else None
    if by_value is not None and _NONE in by_color:
        return by_value
    if _NONE in by_color:
        raise ValueError(_unfit(names, by_color, values if is_grey else None))
    if by_value not in (None, by_color):
        msg = "can be read both by colour and by grey value, with different classes"
        raise ValueError(msg)
    return by_color


def _unfit(names: list[str], by_color: list[int], values: list[int] | None) -> str:
    """Say which colours do not fit."""
    unfit = [name for name, label in zip(names, by_color, strict=True) if label == _NONE]
    first = unfit[0] + (f" and {len(unfit) - 1} more" if len(unfit) > 1 else "")
    expected = "the exact colours of the classes" + (", or their ids" if values else "")
    return f"has the colour {first}, expected {expected}"
