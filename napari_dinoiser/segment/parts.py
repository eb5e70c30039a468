"""Parts of images: the rectangles that are labelled one at a time, those in view first."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PIXELS = 2**26
"""Pixels that are labelled at once: 8192 x 8192."""
TILE_SIDES = 1024, 4096
"""Tiles of what is larger are about as large as the view, within these: pixels a side."""
CONTEXT = 8
"""A tile is looked at with this share of its side around it, so that neighbours agree."""

Rectangle = tuple[slice, slice]
"""Rows and columns, in pixels of the full size."""


class Part(NamedTuple):
    """A rectangle of one plane of a stack.

    Attributes
    ----------
    plane
        Which plane, one number for each leading axis; empty for a single image.
    rows, columns
        What is labelled, in pixels of the full size.
    around
        What is looked at for it, where that is more.
    """

    plane: tuple[int, ...]
    rows: slice
    columns: slice
    around: Rectangle | None = None

    @property
    def key(self) -> tuple[int | slice, ...]:
        """What picks the part out of an array of all labels."""
        return *self.plane, self.rows, self.columns

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def rectangle(self) -> Rectangle:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def looked_at(self) -> Part:
        """The part that is looked at for this one."""
        return Part(self.plane, *self.around) if self.around else self

    @property
    def place(self) -> tuple[object, ...]:
        """The same in numbers, as slices have no hash before Python 3.12."""
        spans = (*self.rectangle, *(self.around or ()))
        return self.plane, *((span.start, span.stop) for span in spans)

    def within(self, other: Part) -> Rectangle:
        """Give the rectangle counted from the corner of what is looked at for another part."""
        corner = other.looked_at
        return _shifted(self.rows, corner.rows.start), _shifted(self.columns, corner.columns.start)


def cut_up(part: Part, size: tuple[int, int], view: Rectangle | None = None) -> list[Part]:
    """Cut a part that is too large to be labelled at once into tiles.

    Tiles of one size have the same places wherever the view is.

    Parameters
    ----------
    part
        Rectangle of an image.
    size
        (height, width) of the image.
    view
        What the window shows, which decides how large the tiles are.

    Returns
    -------
    list of Part
        The part itself where it has at most `MAX_PIXELS`.
    """
    if part.size[0] * part.size[1] <= MAX_PIXELS:
        return [part]
    shortest = min(span.stop - span.start for span in view) if view else TILE_SIDES[1]
    side = 1 << (min(max(shortest, TILE_SIDES[0]), TILE_SIDES[1]).bit_length() - 1)
    axes = (_cut(span, length, side) for span, length in zip(part.rectangle, size, strict=True))
    return [
        Part(part.plane, rows, columns, (rows_around, columns_around))
        for (rows, rows_around), (columns, columns_around) in product(*axes)
    ]


def nearest_first(
    parts: Iterable[Part], plane: tuple[int, ...], place: tuple[float, float]
) -> list[Part]:
    """Sort parts by how far they are from a place (row, column); other planes come last."""

    def distance(part: Part) -> tuple[bool, float]:
        pairs = zip(part.rectangle, place, strict=True)
        squares = (max(span.start - at, at - span.stop, 0) ** 2 for span, at in pairs)
        return part.plane != plane, sum(squares)

    return sorted(parts, key=distance)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles share a pixel."""
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def subtract(one: Rectangle, other: Rectangle) -> list[Rectangle]:
    """Give what another rectangle leaves of one: at most four that do not overlap."""
    if not overlap(one, other):
        return [one]
    (rows, columns), (other_rows, other_columns) = one, other
    top, bottom = max(rows.start, other_rows.start), min(rows.stop, other_rows.stop)
    left, right = max(columns.start, other_columns.start), min(columns.stop, other_columns.stop)
    pieces = (
        (slice(rows.start, top), columns),
        (slice(bottom, rows.stop), columns),
        (slice(top, bottom), slice(columns.start, left)),
        (slice(top, bottom), slice(right, columns.stop)),
    )
    return [piece for piece in pieces if all(span.start < span.stop for span in piece)]


def _cut(span: slice, length: int, side: int) -> list[Rectangle]:
    """Cut one axis: what is labelled and what is looked at, as long everywhere as it can be."""
    context = side // CONTEXT
    width = min(length, side + 2 * context)
    tiles = []
    for start in range(span.start - span.start % side, span.stop, side):
        first = min(max(0, start - context), length - width)
        tile = slice(max(start, span.start), min(start + side, span.stop))
        tiles.append((tile, slice(first, first + width)))
    return tiles


def _shifted(span: slice, start: int) -> slice:
    return slice(span.start - start, span.stop - start)
