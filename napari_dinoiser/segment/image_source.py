"""Read the content of a napari Image layer as images for a model."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoiser.errors import ImageError
from dinoiser.images.arrays import to_rgb
from dinoiser.images.scaling import stretch
from napari_dinoiser.in_view import without_channels
from napari_dinoiser.segment.parts import Part, cut_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoiser.segment.parts import Rectangle

ENOUGH = 2.0
"""A level of a pyramid is used if each side has at least this many times the model's pixels."""


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Pixels of an image layer, and how to show them to a model.

    Sources are compared by identity, so that results kept for one are not used
    for another: make a new one whenever the layer changes.

    Attributes
    ----------
    levels
        Arrays (..., H, W), or (..., H, W, 3 or 4) with `rgb`, of any dtype and
        any type that can be sliced; the full size comes first.
    rgb
        Whether the last axis contains colours.
    limits
        Values shown as black and white; None to scale values as `to_rgb` does.
    channel_axis
        Leading axis that contains channels, see `without_channels`; None if there is none.
    channels
        Channels shown as red, green and blue, or the one shown as grey.
    """

    levels: tuple[Any, ...]
    rgb: bool = False
    limits: tuple[float, float] | None = None
    channel_axis: int | None = None
    channels: tuple[int, ...] = (0,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels: stack axes, then height and width, in pixels of the full size."""
        return self._shape_of(self.levels[0])

    def shows_the_same_as(self, other: ImageSource) -> bool:
        """Whether both have the same arrays and show them in the same way."""
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
        """Return the parts to label.

        Parameters
        ----------
        step
            The plane, as one number per stack axis; None for all planes.
        rows, columns
            The rectangle; it is clipped to the image.
        view
            The part in view; it matters only if the rectangle is so large that
            it is cut up, see `cut_up`.

        Raises
        ------
        ImageError
            The rectangle is empty.
        """
        *stack, height, width = self.shape
        whole = Part((), slice(*rows.indices(height)[:2]), slice(*columns.indices(width)[:2]))
        if min(whole.size) < 1:
            msg = "the rectangle does not overlap the image; draw it over the image"
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
            The size to which the model shrinks the part's shorter side. For a
            pyramid, the smallest sufficient level is read. None reads the full
            size.

        Returns
        -------
        ndarray
            (h, w, 3) uint8 RGB in [0, 255], of the level's size.
        """
        level, scaled = self._level(part, short_side)
        # only this rectangle is read, also of dask and zarr arrays
        pixels = np.asarray(level[self._index(scaled)])
        if self.channel_axis is not None:  # (C, h, w) -> (h, w, C)
            pixels = np.moveaxis(pixels, 0, -1)[..., list(self.channels)]
        elif not self.rgb:
            pixels = pixels[..., np.newaxis]
        if self.limits is None or self.rgb:
            return to_rgb(pixels, channel_axis=-1)
        return to_rgb(stretch(pixels, *self.limits), channel_axis=-1)

    def fingerprint(self, part: Part) -> int:
        """Return a check sum of a part, by which a change of the array in place is noticed.

        Parameters
        ----------
        part
            One of `parts`.

        Returns
        -------
        int
            0 for arrays that are not in memory, whose reading would take long.
        """
        full = self.levels[0]
        if not isinstance(full, np.ndarray):
            return 0
        pixels = full[self._index(part.looked_at)]
        return zlib.crc32(np.ascontiguousarray(pixels).data)

    def _shape_of(self, level: Any) -> tuple[int, ...]:
        shape = level.shape[:-1] if self.rgb else level.shape
        return tuple(without_channels(shape, self.channel_axis, 1))

    def _index(self, part: Part) -> tuple[int | slice, ...]:
        """Index of a part, with all of its channels, in a level's array."""
        index: list[int | slice] = list(part.key)
        if self.channel_axis == 0:  # see `without_channels`
            index.insert(0, slice(None))
        elif self.channel_axis is not None:
            index[self.channel_axis] = slice(None)
        return tuple(index)

    def _level(self, part: Part, short_side: int | None) -> tuple[Any, Part]:
        # levels get smaller: stop at the first that is too small
        chosen = self.levels[0], part
        if short_side is None:
            return chosen
        for level in self.levels[1:]:
            scaled = self._scaled(part, level)
            if min(scaled.size) < ENOUGH * short_side:
                break
            chosen = level, scaled
        return chosen

    def _scaled(self, part: Part, level: Any) -> Part:
        *stack, height, width = self._shape_of(level)
        # many pyramids have fewer slices, too, in their smaller levels
        planes = zip(part.plane, self.shape[:-2], stack, strict=True)
        plane = tuple(index * new // old for index, old, new in planes)
        rows, columns = (
            slice(round(span.start * new / old), max(1, round(span.stop * new / old)))
            for span, old, new in zip(part.rectangle, self.shape[-2:], (height, width), strict=True)
        )
        return Part(plane, rows, columns)
