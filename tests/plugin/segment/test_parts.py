"""Cutting images into parts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_dinoiser.segment import parts
from napari_dinoiser.segment.parts import Part, cut_up, nearest_first, overlap, subtract


def spans(length):
    pairs = st.tuples(st.integers(0, length - 1), st.integers(1, length))
    return pairs.filter(lambda pair: pair[0] < pair[1]).map(lambda pair: slice(*pair))


def rectangles(height=40, width=30):
    return st.tuples(spans(height), spans(width))


def count(pieces, size):
    """How many pieces lie on each pixel."""
    covered = np.zeros(size, int)
    for piece in pieces:
        covered[piece] += 1
    return covered


@given(rectangles(), rectangles())
def test_what_is_left_of_a_rectangle(one, other):
    expected = count([one], (40, 30))
    expected[other] = 0
    np.testing.assert_array_equal(count(subtract(one, other), (40, 30)), expected)
    assert overlap(one, other) == (count([one, other], (40, 30)) == 2).any()


SIZES = st.tuples(st.integers(9000, 40_000), st.integers(9000, 40_000))


@given(SIZES, st.data())
def test_tiles_cover_a_large_part_once_and_are_looked_at_alike(size, data):
    rows, columns = data.draw(st.tuples(*map(spans, size)))
    view = data.draw(st.none() | st.tuples(*map(spans, size)))
    part = Part((3,), rows, columns)
    tiles = cut_up(part, size, view)
    if part.size[0] * part.size[1] <= parts.MAX_PIXELS:
        assert tiles == [part]
        return
    assert sum(tile.size[0] * tile.size[1] for tile in tiles) == part.size[0] * part.size[1]
    starts = zip(*[(tile.rows.start, tile.columns.start) for tile in tiles], strict=True)
    edges = [sorted(set(axis)) for axis in starts]
    for tile in tiles:
        for span, edge, whole in zip(tile.rectangle, edges, part.rectangle, strict=True):
            later = [start for start in edge if start > span.start]
            assert span.stop == min(later, default=whole.stop)  # neighbours touch
        for span, around, length in zip(tile.rectangle, tile.around, size, strict=True):
            assert 0 <= around.start <= span.start < span.stop <= around.stop <= length
        top, left = tile.within(tile)
        assert (top.start, left.start) == (
            tile.rows.start - tile.around[0].start,
            tile.columns.start - tile.around[1].start,
        )
    assert len({tile.looked_at.size for tile in tiles}) == 1  # the model sees all at one scale


def test_tiles_have_their_places_whatever_is_in_view():
    whole = Part((), slice(0, 30_000), slice(0, 20_000))
    views = [(slice(a, a + 1500), slice(b, b + 2000)) for a, b in ((0, 0), (12_345, 777))]
    assert cut_up(whole, (30_000, 20_000), views[0]) == cut_up(whole, (30_000, 20_000), views[1])


def test_what_is_in_view_comes_first():
    whole = Part((), slice(0, 30_000), slice(0, 20_000))
    view = slice(12_000, 13_500), slice(7000, 9000)
    tiles = [
        tile._replace(plane=(plane,))
        for plane in range(3)
        for tile in cut_up(whole, (30_000, 20_000), view)
    ]
    sorted_tiles = nearest_first(tiles, (1,), (12_750, 8000))
    in_view = [tile.plane == (1,) and overlap(tile.rectangle, view) for tile in sorted_tiles]
    assert in_view.index(False) == sum(in_view) > 1
    assert [tile.plane for tile in sorted_tiles[: len(tiles) // 3]] == [(1,)] * (len(tiles) // 3)
