"""Arrays as images."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dinoiser.errors import ImageError
from dinoiser.images import to_rgb
from tests.helpers.drawn_images import assert_shows_four_squares, four_squares

SIZES = st.tuples(st.integers(5, 12), st.integers(5, 12))
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
)
COLOR_IMAGES = st.tuples(SIZES, st.sampled_from([(1,), (3,), (4,)]), DTYPES).flatmap(
    lambda drawn: hnp.arrays(drawn[2], drawn[0] + drawn[1])
)


@given(COLOR_IMAGES)
def test_channels_may_come_first_or_last(image):
    rgb = to_rgb(image)
    assert rgb.shape == (*image.shape[:2], 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(to_rgb(np.moveaxis(image, -1, 0)), rgb)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(5, 12), st.integers(5, 12), st.just(3))))
def test_eight_bits_pass_unchanged(image):
    np.testing.assert_array_equal(to_rgb(image), image)
    np.testing.assert_array_equal(to_rgb(image / 255), image)
    np.testing.assert_array_equal(to_rgb((image / 255).astype(np.float32)), image)


@given(hnp.arrays(np.float64, (6, 7), elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_any_floats_keep_their_order(image):
    grey = to_rgb(image)[..., 0].ravel().astype(int)
    values = np.where(np.isnan(image), -np.inf, image).ravel()
    assert (np.diff(grey[np.argsort(values)]) >= 0).all()


def test_grey_arrays_fill_all_three_channels():
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    for image in (grey, grey[..., np.newaxis], grey[np.newaxis]):
        assert (to_rgb(image) == grey[..., np.newaxis]).all()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_deep_images_are_even(value):
    assert (to_rgb(np.full((5, 6), value, np.uint16)) == 0).all()


def test_floats_from_0_to_1_are_taken_as_that_range():
    assert (to_rgb(np.full((5, 6), 0.2)) == 51).all()


def test_booleans_are_black_and_white():
    assert (to_rgb(np.eye(5, dtype=bool))[..., 0] == 255 * np.eye(5)).all()


def test_float_alpha_is_laid_on_white():
    rgba = np.zeros((5, 6, 4), np.float32)
    rgba[..., 3] = 0.4
    rgba[0, 0, 3] = 1
    rgb = to_rgb(rgba)
    assert (rgb[0, 0] == 0).all()
    assert (rgb[1:] == 153).all()


def test_channels_choose_red_green_and_blue_of_many():
    bands = np.stack([np.full((20, 30), 10 * band, np.uint8) for band in range(7)])
    assert (to_rgb(bands, channels=(3, 2, 1)) == (30, 20, 10)).all()
    assert (to_rgb(np.moveaxis(bands, 0, -1), channels=(3, 2, 1)) == (30, 20, 10)).all()
    assert (to_rgb(np.moveaxis(bands, 0, 1), channels=(5,), channel_axis=1) == 50).all()


@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 4, 4), (1, 3000, 3), (4, 9, 1)])
def test_ambiguous_axes_are_refused_until_stated(shape):
    image = np.zeros(shape, np.uint8)
    with pytest.raises(ImageError, match="channel_axis=-1"):
        to_rgb(image)
    assert to_rgb(image, channel_axis=-1).shape == (*shape[:2], 3)
    assert to_rgb(image, channel_axis=0).shape == (*shape[1:], 3)


@pytest.mark.parametrize(
    ("image", "cure"),
    [
        (np.zeros((5, 6), complex), "abs"),
        (np.zeros((5, 6), object), "astype"),
        (np.array([["a", "b"]]), "expected booleans"),
        (np.zeros((0, 6, 3)), "has no pixels"),
        (np.zeros(6), "not a single image"),
        (np.zeros((2, 5, 6, 3)), r"array\[0\]"),
        (np.float32(1), "not a single image"),
        (np.zeros((9, 8, 7)), "channels="),
        (np.zeros((9, 8, 2)), "channels="),
        ("dog.jpg", "'dog.jpg' is a name.*read_image"),
        (Path("dog.jpg"), "'dog.jpg' is a name.*read_image"),
        (torch.zeros(5, 6, 3, dtype=torch.bfloat16), "a Tensor cannot.*float"),
        (torch.zeros(5, 6, 3, requires_grad=True), "a Tensor cannot.*detach"),
        ([[1, 2], [3]], "a list cannot"),
    ],
)
def test_what_is_no_image_is_refused_with_the_cure(image, cure):
    with pytest.raises(ImageError, match=cure):
        to_rgb(image)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": (0, 1)},
        {"channels": (0, 1, 3)},
        {"channels": (-1, 0, 1)},
        {"channel_axis": 3},
        {"channel_axis": 1},
    ],
)
def test_channels_that_do_not_exist_are_refused(settings):
    with pytest.raises(ImageError, match="channel"):
        to_rgb(np.zeros((8, 9, 3), np.uint8), **settings)


def test_a_flat_image_has_no_channel_axis():
    with pytest.raises(ImageError, match="no channel_axis"):
        to_rgb(np.zeros((8, 9)), channel_axis=0)


def test_array_likes_are_taken():
    class Lazy:
        def __array__(self, dtype=None, copy=None):
            return four_squares()

    assert_shows_four_squares(to_rgb(Lazy()))


def test_reading_images_does_not_load_torch():
    code = "import sys, dinoiser.images, dinoiser.images.inputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
