"""What a napari Image layer holds, as pictures that a model can look at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinoiser.errors import ImageError
from dinoiser.image_arrays import to_rgb
from dinoiser.image_scaling import stretch

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PIXELS = 2**26
"""Pixels that are labelled at once: 8192 x 8192."""
ENOUGH = 2.0
"""A pyramid's level serves when it has this many times the pixels that the model sees, a side."""


class Part(NamedTuple):
    """A rectangle of one plane of a stack.

    Attributes
    ----------
    plane
        Which plane, one number for each leading axis; empty for a single picture.
    rows, columns
        In pixels of the full size.
    """

    plane: tuple[int, ...]
    rows: slice
    columns: slice

    @property
    def key(self) -> tuple[int | slice, ...]:
        """What picks the part out of an array of all labels."""
        return *self.plane, self.rows, self.columns

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Pixels of an image layer and how to look at them.

    Two sources are never equal, so that what was kept of one is not taken for
    the other: make a new one whenever the layer changes.

    Attributes
    ----------
    levels
        Arrays (..., H, W), or (..., H, W, 3 or 4) with `rgb`, of any dtype and
        kind that can be sliced; the full size first.
    rgb
        Whether the last axis holds colours.
    limits
        Values that are shown black and white; None for what `to_rgb` makes of them.
    channel_axis
        Leading axis that holds channels; None for none.
    channels
        Its places that are shown red, green and blue, or the one that is shown grey.
    """

    levels: tuple[Any, ...]
    rgb: bool = False
    limits: tuple[float, float] | None = None
    channel_axis: int | None = None
    channels: tuple[int, ...] = (0,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels: stack axes, then height and width, in pixels of the full size."""
        shape = list(self.levels[0].shape[:-1] if self.rgb else self.levels[0].shape)
        if self.channel_axis is not None:
            del shape[self.channel_axis]
        return tuple(shape)

    @property
    def large(self) -> bool:
        """Whether a plane has too many pixels to be labelled at once."""
        height, width = self.shape[-2:]
        return height * width > MAX_PIXELS

    def shows_the_same_as(self, other: ImageSource) -> bool:
        """Whether the same arrays are looked at in the same way."""
        mine, others = (
            (list(map(id, source.levels)), source.rgb, source.limits, source.channel_axis)
            for source in (self, other)
        )
        return mine == others and self.channels == other.channels

    def parts(
        self,
        step: Sequence[int] | None,
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> list[Part]:
        """Cut out what is to be labelled.

        Parameters
        ----------
        step
            The plane, one number for each stack axis; None for all planes.
        rows, columns
            The rectangle; it is cut to the picture.

        Raises
        ------
        ImageError
            The rectangle is empty, or has too many pixels to be labelled at once.
        """
        *stack, height, width = self.shape
        rectangle = slice(*rows.indices(height)[:2]), slice(*columns.indices(width)[:2])
        part = Part((), *rectangle)
        if min(part.size) < 1:
            msg = "the rectangle does not touch the picture; draw it over the picture"
            raise ImageError(msg)
        if part.size[0] * part.size[1] > MAX_PIXELS:
            msg = (
                f"{part.size[1]} x {part.size[0]} pixels are too many to be labelled at once, "
                "expected at most 8192 x 8192: zoom in and choose the visible part, choose a "
                "rectangle, or label the file in the Folder tab"
            )
            raise ImageError(msg)
        indices = product(*map(range, stack)) if step is None else [tuple(step[: len(stack)])]
        return [Part(index, *rectangle) for index in indices]

    def read(self, part: Part, short_side: int | None = None) -> np.ndarray:
        """Read a part as a picture.

        Parameters
        ----------
        part
            One of `parts`.
        short_side
            To how many pixels the model shrinks the part's shorter side: the
            smallest level of a pyramid that has plenty more than that is read.
            None reads the full size.

        Returns
        -------
        ndarray
            (h, w, 3) uint8 RGB in [0, 255], of the level's size.
        """
        level, rows, columns = self._level(part, short_side)
        index: list[Any] = list(part.plane)
        if self.channel_axis is not None:
            index.insert(self.channel_axis, slice(None))
        pixels = np.asarray(level[(*index, rows, columns)])
        if self.channel_axis is not None:  # what is left of the stack: channels, rows, columns
            pixels = np.moveaxis(pixels, 0, -1)[..., list(self.channels)]
        elif not self.rgb:
            pixels = pixels[..., np.newaxis]
        if self.limits is None or self.rgb:
            return to_rgb(pixels, channel_axis=-1)
        return to_rgb(stretch(pixels, *self.limits), channel_axis=-1)

    def _level(self, part: Part, short_side: int | None) -> tuple[Any, slice, slice]:
        chosen = self.levels[0], part.rows, part.columns
        if short_side is None:
            return chosen
        for level in self.levels[1:]:
            rows, columns = self._scaled(part, level)
            if min(rows.stop - rows.start, columns.stop - columns.start) < ENOUGH * short_side:
                break
            chosen = level, rows, columns
        return chosen

    def _scaled(self, part: Part, level: Any) -> tuple[slice, slice]:
        lengths = level.shape[-3:-1] if self.rgb else level.shape[-2:]
        rows, columns = (
            slice(round(span.start * new / old), max(1, round(span.stop * new / old)))
            for span, old, new in zip(part[1:], self.shape[-2:], lengths, strict=True)
        )
        return rows, columns
