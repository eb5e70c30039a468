"""Polygons, filled by pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask

from dinoiser.export import trace_polygons
from dinoiser.export.regions import map_parts
from tests.helpers.export_jobs import decodes, label_arrays
from tests.helpers.series import cases

pytestmark = decodes


def fill(polygon, shape):
    rles = mask.frPyObjects([polygon.ravel().tolist()], *shape)
    return mask.decode(mask.merge(rles)).astype(bool)


def unit_steps(polygon):
    """The sides of pixels that a closed polygon goes along: their ends, one pixel apart."""
    for (x, y), (next_x, next_y) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        steps = max(abs(next_x - x), abs(next_y - y))
        xs, ys = np.linspace(x, next_x, steps + 1), np.linspace(y, next_y, steps + 1)
        yield from zip(xs[:-1], ys[:-1], xs[1:], ys[1:], strict=True)


@cases(300)
@given(labels=label_arrays())
def test_every_part_has_one_polygon_that_holds_exactly_its_pixels(labels):
    parts = map_parts(labels)
    polygons = trace_polygons(parts)
    assert sorted(polygons) == [*range(1, parts.max() + 1)]
    for part, polygon in polygons.items():
        np.testing.assert_array_equal(fill(polygon, parts.shape), parts == part)


@cases(50)
@given(share=st.floats(0.3, 0.98), seed=st.integers(0, 99))
def test_parts_full_of_holes_come_back_exactly(share, seed):
    parts = map_parts((np.random.default_rng(seed).random((60, 50)) < share).astype(np.uint8))
    polygons = trace_polygons(parts)
    assert sorted(polygons) == [*range(1, parts.max() + 1)]
    for part, polygon in polygons.items():
        np.testing.assert_array_equal(fill(polygon, parts.shape), parts == part)


@cases(200)
@given(labels=hnp.arrays(np.uint8, (9, 9), elements=st.integers(0, 1)))
def test_polygons_run_along_pixels_and_slits_stay_inside_the_part(labels):
    parts = map_parts(labels)
    padded = np.pad(parts, 1)
    polygons = trace_polygons(parts)
    assert len(polygons) == parts.max()
    for part, polygon in polygons.items():
        sides = [tuple(map(int, side)) for side in unit_steps(polygon)]
        assert len(sides) >= 4
        for x, y, next_x, next_y in sides:
            assert (x == next_x) != (y == next_y)
            if x == next_x:
                beside = padded[min(y, next_y) + 1, x : x + 2] == part
            else:
                beside = padded[y : y + 2, min(x, next_x) + 1] == part
            slit = (next_x, next_y, x, y) in sides
            assert beside.sum() == (2 if slit else 1)


def test_a_pixel_is_a_square_from_its_top_left_corner_clockwise():
    labels = np.zeros((3, 4), np.uint8)
    labels[1, 2] = 1
    assert trace_polygons(labels)[1].tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]


def test_a_full_image_is_its_frame():
    assert trace_polygons(np.ones((3, 4), np.uint8))[1].tolist() == [[0, 0], [4, 0], [4, 3], [0, 3]]


def test_a_hole_hangs_on_a_slit():
    labels = np.ones((5, 5), np.uint8)
    labels[2, 2] = 0
    frame = [[5, 0], [5, 5], [0, 5]]
    slit_and_hole = [[2, 0], [2, 2], [2, 3], [3, 3], [3, 2], [2, 2], [2, 0]]
    assert trace_polygons(labels)[1].tolist() == [[0, 0], *slit_and_hole, *frame]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (3, 3)])
def test_nothing_has_no_polygons(shape):
    assert trace_polygons(np.zeros(shape, np.uint8)) == {}
