"""Parts of images: rectangles that are labelled one at a time, beginning with those in view."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PIXELS = 2**26
"""Most pixels labelled at once: 8192 x 8192."""
TILE_SIDES = 1024, 4096
"""Smallest and largest side in pixels of the tiles of larger images; about as large as the view."""
CONTEXT = 8
"""A tile is read with its side divided by this as context around it, so that neighbours agree."""

Rectangle = tuple[slice, slice]
"""Rows and columns, in pixels of the full size."""


class Part(NamedTuple):
    """A rectangle of one plane of a stack.

    Attributes
    ----------
    plane
        The plane, as one number per leading axis; empty for a single image.
    rows, columns
        The rectangle to label, in pixels of the full size.
    around
        The larger rectangle that the model sees for it, if any.
    """

    plane: tuple[int, ...]
    rows: slice
    columns: slice
    around: Rectangle | None = None

    @property
    def key(self) -> tuple[int | slice, ...]:
        """Index of the part in an array of all labels."""
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
        """The part that the model sees for this one."""
        return Part(self.plane, *self.around) if self.around else self

    @property
    def place(self) -> tuple[object, ...]:
        """The part as numbers, as slices are not hashable before Python 3.12."""
        spans = (*self.rectangle, *(self.around or ()))
        return self.plane, *((span.start, span.stop) for span in spans)

    def within(self, other: Part) -> Rectangle:
        """Return the rectangle relative to the corner of what the model sees for another part."""
        corner = other.looked_at
        return _shifted(self.rows, corner.rows.start), _shifted(self.columns, corner.columns.start)


def cut_up(part: Part, size: tuple[int, int], view: Rectangle | None = None) -> list[Part]:
    """Divide a part that is too large to be labelled at once into tiles.

    Tiles of the same size have the same positions, wherever the view is.

    Parameters
    ----------
    part
        Rectangle of an image.
    size
        (height, width) of the image.
    view
        The part in view, which determines the size of the tiles.

    Returns
    -------
    list of Part
        Only the part itself if it has at most `MAX_PIXELS`.
    """
    if part.size[0] * part.size[1] <= MAX_PIXELS:
        return [part]
    shortest = min(span.stop - span.start for span in view) if view else TILE_SIDES[1]
    # the largest power of two within the view, so that small changes of zoom keep the tiles
    side = 1 << (min(max(shortest, TILE_SIDES[0]), TILE_SIDES[1]).bit_length() - 1)
    axes = (_cut(span, length, side) for span, length in zip(part.rectangle, size, strict=True))
    return [
        Part(part.plane, rows, columns, (rows_around, columns_around))
        for (rows, rows_around), (columns, columns_around) in product(*axes)
    ]


def nearest_first(
    parts: Iterable[Part], plane: tuple[int, ...] | None, place: tuple[float, float]
) -> list[Part]:
    """Sort parts by their distance from a position (row, column); planes but the given one last."""

    def distance(part: Part) -> tuple[bool, float]:
        pairs = zip(part.rectangle, place, strict=True)
        squares = (max(span.start - at, at - span.stop, 0) ** 2 for span, at in pairs)
        return part.plane != plane, sum(squares)

    return sorted(parts, key=distance)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles share a pixel."""
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def contains(one: Rectangle, other: Rectangle) -> bool:
    """Whether a rectangle has all pixels of another."""
    return all(a.start <= b.start and b.stop <= a.stop for a, b in zip(one, other, strict=True))


def subtract(one: Rectangle, other: Rectangle) -> list[Rectangle]:
    """Return what is left of a rectangle without another: at most four, without overlaps."""
    if not overlap(one, other):
        return [one]
    (rows, columns), (other_rows, other_columns) = one, other
    top, bottom = max(rows.start, other_rows.start), min(rows.stop, other_rows.stop)
    left, right = max(columns.start, other_columns.start), min(columns.stop, other_columns.stop)
    # above and below over the full width, then left and right of the overlap
    pieces = (
        (slice(rows.start, top), columns),
        (slice(bottom, rows.stop), columns),
        (slice(top, bottom), slice(columns.start, left)),
        (slice(top, bottom), slice(right, columns.stop)),
    )
    return [piece for piece in pieces if all(span.start < span.stop for span in piece)]


def _cut(span: slice, length: int, side: int) -> list[Rectangle]:
    """Divide one axis into spans to label, each with the span that the model sees."""
    context = side // CONTEXT
    width = min(length, side + 2 * context)
    # Tiles begin at multiples of `side`. At the image's borders, the span seen is shifted inside
    # rather than cut, so that all spans are equally long.
    tiles = []
    for start in range(span.start - span.start % side, span.stop, side):
        first = min(max(0, start - context), length - width)
        tile = slice(max(start, span.start), min(start + side, span.stop))
        tiles.append((tile, slice(first, first + width)))
    return tiles


def _shifted(span: slice, start: int) -> slice:
    return slice(span.start - start, span.stop - start)
