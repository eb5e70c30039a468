"""Lay windows over an image, and choose the size at which they are cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dinoiser.segment.settings import WindowSettings

MAX_ASPECT = 2048 / 448
"""Ratio of sides above which the long side limits the size: mmsegmentation's (2048, 448)."""
BLOCK_SIDE = 2048
"""Side of a block of windows in pixels of the working size."""

Spans = tuple[tuple[int, int], ...]


class Window(NamedTuple):
    """A rectangle of pixels: rows top to bottom, columns left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def slices(self, top: int, left: int) -> tuple[slice, slice]:
        """Return rows and columns relative to another position."""
        return slice(self.top - top, self.bottom - top), slice(self.left - left, self.right - left)


@dataclass(frozen=True)
class WindowLayout:
    """The windows of one image.

    Attributes
    ----------
    size
        (H, W) of the image, in pixels.
    working_size
        (h, w) to which it is resized before it is cut up.
    rows, columns
        (start, end) of the windows along each axis; every pair of a row and a
        column is a window, and all have the same size.
    """

    size: tuple[int, int]
    working_size: tuple[int, int]
    rows: Spans
    columns: Spans

    @property
    def windows(self) -> list[Window]:
        """All windows, block by block, and row by row within a block."""
        return [
            Window(*row, *column)
            for blocks in self.blocks
            for block in blocks
            for row in block.rows
            for column in block.columns
        ]

    @property
    def window_size(self) -> tuple[int, int]:
        """(height, width) of every window, in pixels of the working size."""
        (top, bottom), (left, right) = self.rows[0], self.columns[0]
        return bottom - top, right - left

    @property
    def blocks(self) -> list[list[WindowLayout]]:
        """The windows in blocks, from the top left; only large images have several.

        No batch of windows extends over two blocks, so that each can be computed
        separately.
        """
        rows, columns = _groups(self.rows), _groups(self.columns)
        return [[replace(self, rows=some, columns=others) for others in columns] for some in rows]

    @property
    def extent(self) -> Window:
        """The rectangle that the windows cover."""
        return Window(self.rows[0][0], self.rows[-1][1], self.columns[0][0], self.columns[-1][1])

    @classmethod
    def plan(cls, size: tuple[int, int], settings: WindowSettings) -> WindowLayout:
        """Lay windows over an image of size (H, W)."""
        if settings.whole:
            return cls(size, size, ((0, size[0]),), ((0, size[1]),))
        working = working_size(size, settings.short_side, round_down=settings.cubic)
        rows, columns = (spans(n, settings.window, settings.stride) for n in working)
        return cls(size, working, rows, columns)


def working_size(
    size: tuple[int, int], short_side: int, round_down: bool = False
) -> tuple[int, int]:
    """Scale (H, W) to a short side of `short_side`, keeping the aspect ratio.

    The long side is at most 2048 / 448 times `short_side`, as in the evaluation
    protocol. Sizes are rounded to the nearest pixel, or down, and are at least
    1.
    """
    short, long = min(size), max(size)
    if round_down and long <= short * MAX_ASPECT:  # in integers: floats may round down too far
        height, width = (side * short_side // short for side in size)
        return max(1, height), max(1, width)
    factor = min(short_side / short, short_side * MAX_ASPECT / long)
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def spans(length: int, window: int, stride: int) -> Spans:
    """Return windows (start, end) along an axis; the last is moved back inside the image.

    An axis shorter than `window` gets a single, shorter window.
    """
    count = max(length - window + stride - 1, 0) // stride + 1
    ends = [min(i * stride + window, length) for i in range(count)]
    return tuple((max(end - window, 0), end) for end in ends)


def _groups(spans: Spans) -> list[Spans]:
    """Group the windows of an axis by the block in which they start."""
    return [tuple(some) for _, some in groupby(spans, lambda span: span[0] // BLOCK_SIDE)]
