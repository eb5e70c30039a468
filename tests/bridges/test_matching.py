"""Which image an annotation is about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dinoiser.bridges.matching import match_images
from dinoiser.export.brush import decode_brush, encode_brush
from tests.helpers.series import cases


@pytest.mark.parametrize(
    ("wanted", "ours", "found"),
    [
        (["a/b.jpg"], ["a/b.jpg", "b.jpg"], ["a/b.jpg"]),
        (["a/b.png"], ["a/b.jpg", "c/b.jpg"], ["a/b.jpg"]),
        (["images/default/a/b.jpg"], ["a/b.jpg", "c/b.jpg"], ["a/b.jpg"]),
        (["b.png"], ["a/b.jpg"], ["a/b.jpg"]),
        (["b.png"], ["a/b.jpg", "c/b.jpg"], [None]),
        (["a.png", "a.jpg"], ["a.jpg"], [None, "a.jpg"]),
        (["c.d.png"], ["c.d.jpg", "c.jpg"], ["c.d.jpg"]),
        (["x.png"], ["a/b.jpg"], [None]),
    ],
)
def test_images_are_matched_by_name_or_by_stem_where_it_is_unique(wanted, ours, found):
    assert match_images(wanted, ours) == dict(zip(wanted, found, strict=True))


@cases(50)
@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_brush_strokes_are_read_back(mask):
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_long_runs_are_read_back():
    mask = np.zeros((300, 300), bool)
    mask[200:] = True
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


@given(stream=st.lists(st.integers(-1, 256), max_size=40))
def test_what_is_no_brush_is_a_value_error(stream):
    with pytest.raises(ValueError, match=r".+"):
        decode_brush(stream, (3, 5))
