"""Synthetic scenes: the masks are exact, and a seed always draws the same images."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.errors import SettingsError
from dinoiser.scenes import BACKGROUNDS, COLORS, SHAPES, draw_scene, draw_scenes
from dinoiser.scenes.degradations import scatter_clutter
from tests.helpers.series import cases

SIZES = [(224, 224), (320, 448), (97, 64)]
HUES = {"red": 0, "orange": 30, "yellow": 57, "green": 125, "cyan": 180, "blue": 230}


def scene_of_seed(seed, size=(128, 160), **settings):
    return draw_scene(np.random.default_rng(seed), size, **settings)


def saturated_hue(rgb):
    hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255))
    assert saturation > 0.5
    assert value > 0.35
    return 360 * hue


def hue_distance(first, second):
    return abs((first - second + 180) % 360 - 180)


def touches_only_itself(mask):
    """Pixels whose four neighbours have the same label: no smooth edge runs through them."""
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = (
        mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    )
    return inner


@pytest.mark.parametrize("color", HUES)
def test_object_pixels_have_the_colour_that_the_label_names(color):
    for seed in range(8):
        scene = scene_of_seed(seed, camera=False, colors=[color])
        assert all(name.startswith(f"{color} ") for name in scene.names)
        pixels = scene.image[touches_only_itself(scene.labels > 0)]
        assert hue_distance(saturated_hue(np.median(pixels, axis=0)), HUES[color]) < 31


def test_background_pixels_do_not_change_when_the_objects_change_colour():
    for seed in range(8):
        red, blue = (scene_of_seed(seed, camera=False, colors=[c]) for c in ("red", "blue"))
        same = (red.image == blue.image).all(axis=-1)
        background = touches_only_itself(touches_only_itself(red.labels == 0))
        assert same[background].mean() > 0.99
        assert not same[touches_only_itself(red.labels > 0)].any()


def test_a_ring_has_a_hole_and_a_circle_has_none():
    filled = {}
    for seed in range(60):
        scene = scene_of_seed(seed, most_objects=1, camera=False)
        rows, columns = np.nonzero(scene.labels)
        if rows.min() == 0 or columns.min() == 0:
            continue
        middle = round(rows.mean()), round(columns.mean())
        filled.setdefault(scene.names[0].split()[1], []).append(scene.labels[middle] == 1)
    assert set(filled) == set(SHAPES)
    assert not any(filled["ring"])
    assert all(filled["circle"])
    assert all(filled["square"])
    assert all(filled["cross"])


@cases(25)
@given(seed=st.integers(0, 2**32), size=st.sampled_from(SIZES), hard=st.booleans())
def test_every_scene_is_described_completely_and_correctly(seed, size, hard):
    scene = scene_of_seed(seed, size, hard=hard)
    assert scene.image.shape == (*size, 3)
    assert scene.labels.shape == size
    assert scene.image.dtype == scene.labels.dtype == np.uint8
    assert set(np.unique(scene.labels)) - {0} == set(range(1, len(scene.names) + 1))
    assert scene.background in BACKGROUNDS
    classes = {f"{color} {shape}" for color in COLORS for shape in SHAPES}
    assert set(scene.names) <= classes
    assert set(scene.absent) <= classes - set(scene.names)
    assert len(set(scene.names)) == len(scene.names) >= 1
    assert len(set(scene.absent)) == 5
    assert all(word in scene.caption for word in (*scene.names, scene.background))


def test_a_scene_depends_on_the_seed_and_its_index_alone():
    three, five = list(draw_scenes(3, seed=7)), list(draw_scenes(5, seed=7))
    for first, second in zip(three, five, strict=False):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.labels, second.labels)
        assert first.names == second.names
    other = next(draw_scenes(1, seed=8))
    assert not np.array_equal(other.image, three[0].image)
    assert not np.array_equal(three[0].image, three[1].image)


def test_objects_have_the_promised_sizes():
    for size, smallest, largest in (((224, 224), 32, 120), ((320, 448), 40, 160)):
        extents = []
        for seed in range(40):
            scene = scene_of_seed(seed, size, most_objects=1)
            rows, columns = np.nonzero(scene.labels)
            extents.append(max(np.ptp(rows), np.ptp(columns)) + 1)
        assert max(extents) <= largest
        assert min(extents) >= 0.7 * smallest


def test_hard_objects_are_noisier_and_more_uneven_than_easy_ones():
    def unevenness(hard):
        scenes = draw_scenes(12, seed=3, hard=hard)
        return np.mean([s.image[s.labels == 1].astype(float).std(axis=0).mean() for s in scenes])

    assert unevenness(hard=True) > 2 * unevenness(hard=False)


def test_clutter_covers_a_little_of_the_background():
    for seed in range(10):
        canvas = np.full((224, 224, 3), 128, np.float32)
        scatter_clutter(np.random.default_rng(seed), canvas)
        assert 0.001 < (canvas != 128).any(axis=-1).mean() < 0.1


@pytest.mark.parametrize("size", [(31, 200), (200, 8)])
def test_a_scene_too_small_for_objects_is_refused(size):
    with pytest.raises(SettingsError, match="at least 32"):
        scene_of_seed(0, size)
