"""Where windows lie, and how their patches become pixels."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from dinoiser.errors import SettingsError
from dinoiser.segment import interpolation
from dinoiser.segment.canvas import Canvas
from dinoiser.segment.probability_map import ProbabilityMap, Tile, highest
from dinoiser.segment.resize import resize, resize_columns, resize_rows
from dinoiser.segment.score_map import ScoreMap
from dinoiser.segment.settings import SegmentSettings, WindowSettings
from dinoiser.segment.windows import WindowLayout, spans, working_size
from tests.helpers.series import cases

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
def test_images_keep_their_shape(height, width):
    h, w = working_size((height, width), 448)
    factor = min(448 / min(height, width), 2048 / max(height, width))
    assert h == max(1, int(height * factor + 0.5))
    assert w == max(1, int(width * factor + 0.5))
    assert max(h, w) <= 2048
    assert min(h, w) <= 448


@given(height=sides, width=sides)
def test_torchvision_rounds_the_longer_side_down(height, width):
    short, long = min(height, width), max(height, width)
    assume(long <= 2048 / 448 * short)
    expected = int(512 * long / short)  # what torchvision computes
    found = working_size((height, width), 512, round_down=True)
    assert found == ((512, expected) if height <= width else (expected, 512))


def test_the_papers_sizes():
    assert working_size((375, 500), 448) == (448, 597)
    assert WindowLayout.plan((375, 500), WindowSettings()).columns == ((0, 448), (149, 597))


def test_all_wrong_settings_are_named_together():
    with pytest.raises(SettingsError, match=r"short_side is 0.*stride is 500.*window of 448"):
        SegmentSettings(short_side=0, stride=500, window=448)


def random_patches(layout, grid, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(layout.windows), classes, *grid, generator=generator)


def all_pixels(found):
    pixels = torch.full((len(found.mosaic), *found.layout.size), torch.nan)
    for tile, probabilities in found.tiles():
        pixels[:, *tile] = probabilities
    return pixels


def straightforward(layout, windows, mode="bilinear", softmax=False):
    """The same pixels with whole arrays: the published evaluations, step by step."""
    total = torch.zeros(windows.shape[1], *layout.working_size)
    visits = torch.zeros(layout.working_size)
    for window, patches in zip(layout.windows, windows, strict=True):
        size = (window.bottom - window.top, window.right - window.left)
        spread = F.interpolate(patches[None], size, mode=mode, align_corners=False)[0]
        spread = spread.softmax(0) if softmax else spread
        total[:, window.top : window.bottom, window.left : window.right] += spread
        visits[window.top : window.bottom, window.left : window.right] += 1
    mean = (total / visits)[None]
    return F.interpolate(mean, layout.size, mode="bilinear", align_corners=False)[0]


@cases(40)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    window=st.integers(8, 40),
    stride=st.integers(4, 8),
    values=st.integers(1, 20_000),
    width=st.integers(1, 100),
    seed=st.integers(0, 99),
)
def test_tiles_are_the_whole_map(size, window, stride, values, width, seed):
    settings_ = WindowSettings(short_side=32, window=window, stride=stride)
    layout = WindowLayout.plan(size, settings_)
    patches = random_patches(layout, (3, 4), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dinoiser.segment.probability_map.TILE_WIDTH", width)
        patch.setattr("dinoiser.segment.probability_map.VALUES_AT_ONCE", values)
        pixels = all_pixels(ProbabilityMap.from_windows(patches, layout))
    np.testing.assert_allclose(pixels, straightforward(layout, patches), atol=2e-5)


@pytest.mark.parametrize("spread", ["stretched", "cubic"])
@cases(15)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    window=st.integers(8, 40),
    stride=st.integers(4, 8),
    values=st.integers(1, 10_000),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_scores_become_probabilities_in_each_window(
    spread, size, window, stride, values, seed, data
):
    layout = WindowLayout.plan(size, WindowSettings(short_side=32, window=window, stride=stride))
    scores = 2 * random_patches(layout, (3, 4), seed=seed) - 1
    found = ScoreMap.from_windows(scores, layout, spread=spread)
    whole = Tile(slice(0, size[0]), slice(0, size[1]))
    pixels = found.pixels(whole)
    mode = {"stretched": "bilinear", "cubic": "bicubic"}[spread]
    np.testing.assert_allclose(pixels, straightforward(layout, scores, mode, True), atol=2e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dinoiser.segment.probability_map.TILE_WIDTH", data.draw(st.integers(1, 90)))
        patch.setattr("dinoiser.segment.probability_map.VALUES_AT_ONCE", values)
        np.testing.assert_array_equal(all_pixels(found), pixels)
    np.testing.assert_array_equal(found.select([2]).pixels(whole), pixels[2:])
    assert set(pixels.argmax(0).flatten().tolist()) <= set(found.winners())


@pytest.mark.parametrize("antialias", [False, True])
@cases(40)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    new=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    data=st.data(),
)
def test_bicubic_pieces_are_those_of_the_whole_which_is_as_torch_has_it(antialias, size, new, data):
    assume(new != (1, 1))  # at which torch itself stumbles
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *size), np.uint8))
    whole = resize(image, new, antialias, cubic=True)
    published = F.interpolate(
        image[None], new, mode="bicubic", align_corners=False, antialias=antialias
    )[0]
    assert (whole.int() - published.int()).abs().max() <= 2
    start = data.draw(st.integers(0, new[0] - 1))
    places = slice(start, data.draw(st.integers(start + 1, new[0])))
    used = places
    if size[0] != new[0]:
        used = interpolation.source(size[0], new[0], places, antialias, cubic=True)
    band = resize_columns(image[:, used], new[1], antialias, cubic=True)
    rows = resize_rows(band, used.start, size[0], new[0], places, antialias, cubic=True)
    np.testing.assert_array_equal(rows, whole[:, places])


def test_images_are_resized_as_pillow_does():
    image = np.random.default_rng(1).integers(0, 256, (75, 110, 3), np.uint8)
    for width, height in ((60, 41), (200, 137)):
        expected = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
        ours = resize(torch.from_numpy(image).permute(2, 0, 1), (height, width), cubic=True)
        difference = np.asarray(expected).astype(int) - ours.permute(1, 2, 0).numpy()
        assert np.abs(difference).max() <= 2
        assert (difference != 0).mean() < 0.02


def test_a_whole_image_is_enlarged_by_the_patch_and_cut():
    layout = WindowLayout.plan((30, 45), WindowSettings(whole=True))
    patches = random_patches(layout, (4, 6))
    enlarged = F.interpolate(patches, scale_factor=8, mode="bilinear", align_corners=False)
    pixels = all_pixels(ProbabilityMap.from_windows(patches, layout, patch_size=8))
    np.testing.assert_allclose(pixels, enlarged[0, :, :30, :45], atol=1e-6)


@cases(40)
@given(seed=st.integers(0, 10_000), sharpness=st.floats(1, 30))
def test_classes_that_are_left_out_win_nowhere(seed, sharpness):
    layout = WindowLayout.plan((50, 60), WindowSettings(short_side=40, window=32, stride=16))
    patches = (random_patches(layout, (4, 4), classes=9, seed=seed) * sharpness).softmax(1)
    found = ProbabilityMap.from_windows(patches, layout)
    pixels = all_pixels(found)
    assert set(pixels.argmax(0).flatten().tolist()) <= set(found.winners())
    for tile in Tile.whole((50, 60)).cut(7, 9):
        won = pixels[:, *tile].argmax(0).flatten().tolist()
        assert set(won) <= set(found.winners(tile))


def test_where_a_class_is_ahead_in_every_patch_the_others_are_left_out():
    layout = WindowLayout.plan((64, 64), WindowSettings(whole=True))
    patches = torch.full((1, 3, 8, 8), 0.3)
    patches[0, 0] = 0.4
    patches[0, 1, :, 4:] = 0.5
    found = ProbabilityMap.from_windows(patches, layout)
    assert found.winners(Tile(slice(0, 64), slice(0, 24))) == [0]
    assert found.winners(Tile(slice(0, 64), slice(40, 64))) == [1]


@cases(40)
@given(
    seed=st.integers(0, 10_000),
    sharpness=st.floats(1, 30),
    values=st.integers(40, 5_000),
    width=st.integers(1, 60),
)
def test_the_classes_of_pixels_do_not_depend_on_which_can_win_in_a_tile(
    seed, sharpness, values, width
):
    layout = WindowLayout.plan((50, 60), WindowSettings(short_side=40, window=32, stride=16))
    patches = (random_patches(layout, (4, 4), classes=9, seed=seed) * sharpness).softmax(1)
    found = ProbabilityMap.from_windows(patches, layout)
    pixels = all_pixels(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dinoiser.segment.probability_map.TILE_WIDTH", width)
        patch.setattr("dinoiser.segment.probability_map.VALUES_AT_ONCE", values)
        canvas = Canvas.blank(
            Tile.whole((50, 60)), np.arange(9, dtype=np.uint8), found.device, np.float32
        )
        found.decide(canvas)
    expected, number = pixels.max(0)
    np.testing.assert_array_equal(canvas.labels, number)
    np.testing.assert_array_equal(canvas.confidence, expected)


def test_the_first_of_equals_is_the_highest():
    values = torch.tensor([[[0.2, 0.5, 0.1]], [[0.2, 0.4, 0.3]], [[0.1, 0.5, 0.3]]])
    best, winner = highest(values)
    assert best.tolist() == [[values[0, 0, 0].item(), 0.5, values[1, 0, 2].item()]]
    assert winner.tolist() == [[0, 0, 1]]


def test_one_class_alone_is_its_channel():
    layout = WindowLayout.plan((50, 60), WindowSettings(short_side=40, window=32, stride=16))
    found = ProbabilityMap.from_windows(random_patches(layout, (4, 4)), layout)
    np.testing.assert_allclose(all_pixels(found.select([2]))[0], all_pixels(found)[2])
