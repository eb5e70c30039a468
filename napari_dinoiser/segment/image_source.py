"""What a napari Image layer holds, as images that a model can look at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoiser.errors import ImageError
from dinoiser.images.arrays import to_rgb
from dinoiser.images.scaling import stretch
from napari_dinoiser.segment.parts import Part, cut_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoiser.segment.parts import Rectangle

ENOUGH = 2.0
"""A pyramid's level serves when it has this many times the pixels that the model sees, a side."""


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
        view: Rectangle | None = None,
    ) -> list[Part]:
        """Cut out what is to be labelled.

        Parameters
        ----------
        step
            The plane, one number for each stack axis; None for all planes.
        rows, columns
            The rectangle; it is cut to the image.
        view
            What the window shows; it matters where the rectangle is so large
            that it is cut up, see `cut_up`.

        Raises
        ------
        ImageError
            The rectangle is empty.
        """
        *stack, height, width = self.shape
        whole = Part((), slice(*rows.indices(height)[:2]), slice(*columns.indices(width)[:2]))
        if min(whole.size) < 1:
            msg = "the rectangle does not touch the image; draw it over the image"
            raise ImageError(msg)
        pieces = cut_up(whole, (height, width), view)
        planes = product(*map(range, stack)) if step is None else [tuple(step[: len(stack)])]
        return [piece._replace(plane=plane) for plane in planes for piece in pieces]

    def read(self, part: Part, short_side: int | None = None) -> np.ndarray:
        """Read a part as an image.

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
            for span, old, new in zip(part.rectangle, self.shape[-2:], lengths, strict=True)
        )
        return rows, columns
