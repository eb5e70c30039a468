"""Objects of one class that touch are told apart by the necks between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label

from dinoiser.errors import SettingsError
from dinoiser.export import ExportOptions
from dinoiser.export import split as split_module
from dinoiser.export.coco import build_annotations
from dinoiser.export.panoptic import build_panoptic
from dinoiser.export.regions import map_parts
from dinoiser.export.split import split_parts
from dinoiser.export.yolo import build_yolo
from dinoiser.prompts import PromptSet
from tests.helpers.series import cases

PROMPTS = PromptSet.parse("background, dog")


def discs(*circles, size=(120, 200)):
    rows, columns = np.mgrid[: size[0], : size[1]]
    inside = [(rows - y) ** 2 + (columns - x) ** 2 < r**2 for x, y, r in circles]
    return np.any(inside, 0).astype(np.uint8)


TWO = discs((60, 60, 30), (112, 60, 28))
"""Two discs whose common chord is half as long as they are wide."""


def count(labels, eagerness):
    return int(split_parts(map_parts(labels), eagerness).max())


def test_two_that_touch_are_two_from_the_width_of_their_neck_on():
    assert count(TWO, 0) == count(TWO, 0.3) == 1
    assert count(TWO, 0.7) == 2
    pieces = split_parts(map_parts(TWO), 0.7)
    assert (pieces[:, :80] <= 1).all()
    assert (pieces[:, 95:][pieces[:, 95:] > 0] == 2).all()


@pytest.mark.parametrize(
    "one", [discs((60, 60, 40)), discs((20, 60, 45)), np.ones((50, 70), np.uint8)]
)
@pytest.mark.parametrize("eagerness", [0.5, 0.9])
def test_one_that_has_no_neck_stays_one_also_where_the_image_ends(one, eagerness):
    assert count(one, eagerness) == 1


def test_a_large_one_is_split_in_the_same_place(monkeypatch):
    large = TWO.repeat(4, 0).repeat(4, 1)
    monkeypatch.setattr(split_module, "PIXELS_AT_ONCE", TWO.size)
    pieces, small = split_parts(map_parts(large), 0.7), split_parts(map_parts(TWO), 0.7)
    assert pieces.max() == 2
    assert (pieces[2::4, 2::4] == small).mean() > 0.995


def test_a_large_one_that_is_thin_is_not_lost():
    cross = np.zeros((900, 1000), np.uint8)
    cross[451] = cross[:, 501] = 1  # an odd row and an odd column, where no pixel is looked at
    parts = map_parts(cross)
    np.testing.assert_array_equal(split_parts(parts, 0.7) > 0, parts > 0)


@cases(40)
@given(seed=st.integers(0, 999), share=st.floats(0.3, 0.7), eagerness=st.floats(0, 1))
def test_pieces_are_connected_and_cover_the_parts(seed, share, eagerness):
    rng = np.random.default_rng(seed)
    labels = (rng.random((20, 25)) < share).astype(np.uint8).repeat(3, 0).repeat(3, 1)
    parts = map_parts(labels)
    pieces = split_parts(parts, eagerness)
    np.testing.assert_array_equal(pieces > 0, parts > 0)
    np.testing.assert_array_equal(label(pieces, background=0, connectivity=1), pieces)
    for piece in range(1, pieces.max() + 1):
        assert len(np.unique(parts[pieces == piece])) == 1
    np.testing.assert_array_equal(split_parts(parts, 0), parts)


def test_all_formats_have_both():
    for split, objects in ((0.0, 1), (0.7, 2)):
        options = ExportOptions(instances=True, split=split)
        assert len(build_annotations(TWO, "a.png", PROMPTS, options)) == objects
        assert len(build_panoptic(TWO, PROMPTS, options)[1]) == objects
        assert len(build_yolo(TWO, PROMPTS, options).splitlines()) == objects
    assert len(build_yolo(TWO, PROMPTS).splitlines()) == 1


@pytest.mark.parametrize("value", [-0.1, 1.5, "much"])
def test_a_split_that_is_none_is_refused(value):
    with pytest.raises(SettingsError, match="from 0 to 1"):
        ExportOptions(instances=True, split=value)
