"""Where windows lie, and how their patches become pixels."""

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
    assert all(after[0] <= before[1] for before, after in zip(found, found[1:], strict=False))


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


def random_map(layout, grid, classes=3, patch_size=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand(len(layout.windows), classes, *grid, generator=generator)
    return ProbabilityMap(patches, layout, patch_size)


def straightforward(found):
    """The same pixels with whole arrays: the published evaluation, word for word."""
    layout = found.layout
    total = torch.zeros(found.patches.shape[1], *layout.working_size)
    visits = torch.zeros(layout.working_size)
    for window, patches in zip(layout.windows, found.patches, strict=True):
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
    band=st.integers(1, 4000),
    seed=st.integers(0, 99),
)
def test_bands_of_rows_are_the_whole_map(size, window, stride, band, seed):
    settings_ = WindowSettings(short_side=32, window=window, stride=stride)
    found = random_map(WindowLayout.plan(size, settings_), (3, 4), seed=seed)
    expected = straightforward(found)
    stacked = torch.full_like(expected, -1)
    for rows, probabilities in found.bands(band):
        stacked[:, rows] = probabilities
    np.testing.assert_allclose(stacked, expected, atol=2e-5)


def test_a_whole_picture_is_enlarged_by_the_patch_and_cut():
    layout = WindowLayout.plan((30, 45), WindowSettings(whole=True))
    found = random_map(layout, (4, 6), patch_size=8)
    enlarged = F.interpolate(found.patches, scale_factor=8, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found.rows(0, 30), enlarged[0, :, :30, :45], atol=1e-6)


def test_one_class_alone_is_its_channel():
    layout = WindowLayout.plan((50, 60), WindowSettings(short_side=40, window=32, stride=16))
    found = random_map(layout, (4, 4))
    np.testing.assert_allclose(found.select(2).rows(3, 20)[0], found.rows(3, 20)[2])
