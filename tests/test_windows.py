"""Where windows lie, and how their patches become pixels."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dinoiser.errors import SettingsError
from dinoiser.segment.probability_map import ProbabilityMap
from dinoiser.segment.windows import WindowLayout, WindowSettings, spans, working_size

sides = st.integers(1, 20_000)


@given(length=st.integers(1, 5000), window=st.integers(1, 600), data=st.data())
def test_windows_cover_an_axis_and_stay_on_it(length, window, data):
    stride = data.draw(st.integers(1, window))
    found = spans(length, window, stride)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert {end - start for start, end in found} == {min(window, length)}
    assert all(after[0] <= before[1] for before, after in itertools.pairwise(found))


@given(height=sides, width=sides)
def test_pictures_keep_their_shape(height, width):
    h, w = working_size((height, width), 448)
    factor = min(448 / min(height, width), 2048 / max(height, width))
    assert h == max(1, int(height * factor + 0.5))
    assert w == max(1, int(width * factor + 0.5))
    assert max(h, w) <= 2048
    assert min(h, w) <= 448


def test_the_papers_sizes():
    assert working_size((375, 500), 448) == (448, 597)
    assert WindowLayout.plan((375, 500), WindowSettings()).columns == ((0, 448), (149, 597))


def test_all_wrong_settings_are_named_together():
    with pytest.raises(SettingsError, match=r"short_side is 0.*stride 500.*window 448"):
        WindowSettings(short_side=0, stride=500)


def random_patches(layout, grid, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(layout.windows), classes, *grid, generator=generator)


def all_pixels(found, height=None):
    pixels = torch.full((len(found.mosaic), *found.layout.size), torch.nan)
    for tile, probabilities in found.tiles(height):
        pixels[:, *tile] = probabilities
    return pixels


def straightforward(layout, windows):
    """The same pixels with whole arrays: the published evaluation, step by step."""
    total = torch.zeros(windows.shape[1], *layout.working_size)
    visits = torch.zeros(layout.working_size)
    for window, patches in zip(layout.windows, windows, strict=True):
        size = (window.bottom - window.top, window.right - window.left)
        spread = F.interpolate(patches[None], size, mode="bilinear", align_corners=False)[0]
        total[:, window.top : window.bottom, window.left : window.right] += spread
        visits[window.top : window.bottom, window.left : window.right] += 1
    mean = (total / visits)[None]
    return F.interpolate(mean, layout.size, mode="bilinear", align_corners=False)[0]


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    window=st.integers(8, 40),
    stride=st.integers(4, 8),
    height=st.integers(1, 100),
    width=st.integers(1, 100),
    seed=st.integers(0, 99),
)
def test_tiles_are_the_whole_map(size, window, stride, height, width, seed):
    settings_ = WindowSettings(short_side=32, window=window, stride=stride)
    layout = WindowLayout.plan(size, settings_)
    patches = random_patches(layout, (3, 4), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dinoiser.segment.probability_map.TILE_WIDTH", width)
        pixels = all_pixels(ProbabilityMap.from_windows(patches, layout), height)
    np.testing.assert_allclose(pixels, straightforward(layout, patches), atol=2e-5)


def test_a_whole_picture_is_enlarged_by_the_patch_and_cut():
    layout = WindowLayout.plan((30, 45), WindowSettings(whole=True))
    patches = random_patches(layout, (4, 6))
    enlarged = F.interpolate(patches, scale_factor=8, mode="bilinear", align_corners=False)
    pixels = all_pixels(ProbabilityMap.from_windows(patches, layout, patch_size=8))
    np.testing.assert_allclose(pixels, enlarged[0, :, :30, :45], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), sharpness=st.floats(1, 30))
def test_classes_that_are_left_out_win_nowhere(seed, sharpness):
    layout = WindowLayout.plan((50, 60), WindowSettings(short_side=40, window=32, stride=16))
    patches = (random_patches(layout, (4, 4), classes=9, seed=seed) * sharpness).softmax(1)
    found = ProbabilityMap.from_windows(patches, layout)
    assert set(all_pixels(found).argmax(0).flatten().tolist()) <= set(found.winners())


def test_one_class_alone_is_its_channel():
    layout = WindowLayout.plan((50, 60), WindowSettings(short_side=40, window=32, stride=16))
    found = ProbabilityMap.from_windows(random_patches(layout, (4, 4)), layout)
    np.testing.assert_allclose(all_pixels(found.select([2]))[0], all_pixels(found)[2])
