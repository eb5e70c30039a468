"""Which image an annotation is about."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dinoiser.bridges.matching import match_images
from dinoiser.export.brush import decode_brush, encode_brush
from dinoiser.images.inputs import ImageFile, output_stem
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
        # what another has found does not make the rest unique
        (["day/1.png", "dusk/1.png"], ["day/1.jpg", "night/1.jpg"], ["day/1.jpg", None]),
        (["dusk/1.png"], ["day/1.jpg", "night/1.jpg"], [None]),
        (["x/1.png", "y/1.png"], ["1.jpg"], [None, None]),
        (["1.jpg", "y/1.jpg"], ["1.jpg"], ["1.jpg", None]),
        (["x/1.png", "1.jpg"], ["x/1.jpg", "y/1.jpg"], ["x/1.jpg", None]),
        (["", "a/", "/"], ["a.jpg"], [None, "a.jpg", None]),
    ],
)
def test_images_are_matched_by_name_or_by_stem_where_it_is_unique(wanted, ours, found):
    stems = output_stem([ImageFile(Path(name), name) for name in ours])
    assert match_images(wanted, stems) == dict(zip(wanted, found, strict=True))


def test_masks_of_images_that_share_a_stem_find_them_by_the_names_of_their_results():
    stems = {"a/s.jpg": "a/s.jpg", "a/s.png": "a/s.png"}
    assert match_images(stems.values(), stems) == {name: name for name in stems}
    assert match_images(["voc/a/s.png"], stems) == {"voc/a/s.png": "a/s.png"}
    # the second came later: only it keeps its suffix
    stems = {"s.jpg": "s", "s.png": "s.png"}
    assert match_images(["s", "s.png"], stems) == {"s": "s.jpg", "s.png": "s.png"}
    assert match_images(["labels/s"], stems) == {"labels/s": "s.jpg"}


PATHS = st.lists(st.sampled_from(["a", "b", "a.jpg", "a.png", "b.png.jpg"]), min_size=1, max_size=3)


@given(
    wanted=st.lists(PATHS.map("/".join), max_size=5), ours=st.lists(PATHS.map("/".join), max_size=5)
)
def test_no_image_is_given_twice_and_what_is_asked_beside_changes_no_answer_to_another(
    wanted, ours
):
    stems = output_stem([ImageFile(Path(name), name) for name in dict.fromkeys(ours)])
    found = match_images(wanted, stems)
    given_ = [name for name in found.values() if name is not None]
    assert len(set(given_)) == len(given_)
    for name in wanted:
        alone = match_images([name], stems)[name]
        # others may take an image, or make unclear whose it is
        assert found[name] in (alone, None)


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
