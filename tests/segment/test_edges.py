"""Edges that follow the image: what they may change, and that no cut through the image shows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.segment import block_labels, edges
from dinoiser.segment.canvas import Canvas
from dinoiser.segment.cells import CellGrid, cell_colours
from dinoiser.segment.edges import EdgeMap, support
from dinoiser.segment.median import median_of_nine
from dinoiser.segment.probability_map import ProbabilityMap, Tile
from dinoiser.segment.resize import resize, to_torch
from dinoiser.segment.settings import WindowSettings
from dinoiser.segment.windows import WindowLayout, working_size
from tests.helpers.series import cases

PATCH = 8


def make_map(image, probabilities, short_side=None):
    """An edge map of an image, from probabilities (K, n, m) of patches over all of it."""
    size = image.shape[:2]
    layout = WindowLayout.plan(size, WindowSettings(whole=True))
    if short_side:
        working = working_size(size, short_side)
        layout = WindowLayout(size, working, ((0, working[0]),), ((0, working[1]),))
    patches = ProbabilityMap.from_windows(probabilities[None].float(), layout)
    grid = CellGrid.over(layout, PATCH)
    colours = cell_colours(resize(to_torch(image), layout.working_size, True), grid.side)
    return EdgeMap(patches, grid, colours, image)


def decide(found, within=None):
    """Classes and confidence of a part of the image, or of all of it."""
    channels = np.arange(found.patches.class_count, dtype=np.uint8)
    within = within or Tile.whole(found.grid.size)
    canvas = Canvas.blank(within, channels, found.device, np.float32)
    canvas.labels.fill_(255)
    canvas.confidence.fill_(torch.nan)
    found.decide(canvas)
    classes, confidence = canvas.arrays()
    return classes.astype(int), confidence


def blurred_patches(labels, classes):
    """What words say of an image: the share of each class in every patch, (K, n, m)."""
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), classes)
    shares = one_hot.permute(2, 0, 1)[None].float()
    return torch.nn.functional.avg_pool2d(shares, PATCH, ceil_mode=True)[0]


def scene(labels, colors, noise=0, seed=0):
    image = np.asarray(colors, np.float64)[labels]
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def random_case(size, classes, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 7 + 1, size[1] // 7 + 1, 3), np.uint8)
    image = coarse.repeat(7, 0).repeat(7, 1)[: size[0], : size[1]].copy()
    grid = (-(-size[0] // PATCH), -(-size[1] // PATCH))
    logits = torch.randn(classes, *grid, generator=torch.Generator().manual_seed(seed)) * 3
    return image, logits.softmax(0)


# -- No cut shows


@cases(30)
@given(
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    short_side=st.sampled_from([None, 20, 64, 150]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_any_part_is_that_part_of_the_whole(size, short_side, seed, data):
    found = make_map(*random_case(size, 4, seed), short_side)
    classes, confidence = decide(found)
    starts = [data.draw(st.integers(0, length - 1)) for length in size]
    ends = [data.draw(st.integers(*pair)) for pair in zip([s + 1 for s in starts], size)]  # noqa: B905
    part = Tile(*map(slice, starts, ends))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edges, "CELLS_AT_ONCE", data.draw(st.integers(1, 40)))
        patch.setattr(block_labels, "PIXELS_AT_ONCE", data.draw(st.integers(1, 10_000)))
        for got, whole in zip(decide(found, part), (classes, confidence), strict=True):
            np.testing.assert_array_equal(got, whole[part])


@cases(20)
@given(size=st.tuples(st.integers(40, 400), st.integers(40, 400)), seed=st.integers(0, 99))
def test_what_is_outside_the_support_has_no_influence(size, seed):
    image, probabilities = random_case(size, 3, seed)
    found = make_map(image, probabilities)
    part = Tile(slice(10, 30), slice(20, 35))
    cells = support(found.grid, part)
    others = torch.ones(found.colours.shape, dtype=torch.bool)
    others[:, *cells] = False
    changed = EdgeMap(found.patches, found.grid, found.colours.where(~others, 0.5), image)
    for got, expected in zip(decide(changed, part), decide(found, part), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_nothing(threads):
    found, before = make_map(*random_case((300, 420), 5, 3)), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        got = decide(found)
        torch.set_num_threads(3)
        np.testing.assert_array_equal(got, decide(found))
    finally:
        torch.set_num_threads(before)


# -- What it may change


def test_where_the_image_is_constant_nothing_moves():
    labels = np.zeros((96, 128), np.uint8)
    labels[:, 64:] = 1
    probabilities = blurred_patches(labels, 2)
    classes, _ = decide(make_map(np.full((96, 128, 3), 90, np.uint8), probabilities))
    np.testing.assert_array_equal(classes, labels)


@cases(15)
@given(order=st.permutations(range(4)), seed=st.integers(0, 99))
def test_the_order_of_the_classes_does_not_matter(order, seed):
    image, probabilities = random_case((90, 110), 4, seed)
    classes, confidence = decide(make_map(image, probabilities))
    permuted, same = decide(make_map(image, probabilities[list(order)]))
    # of classes that are exactly equal in a pixel, the first wins
    assert (np.asarray(order)[permuted] == classes).mean() > 0.999
    assert (same == confidence).mean() > 0.999


@cases(15)
@given(seed=st.integers(0, 99))
def test_no_class_appears_far_from_where_its_words_win(seed):
    image, probabilities = random_case((120, 140), 4, seed)
    probabilities[3] = 0
    found = make_map(image, probabilities)
    classes, _ = decide(found)
    assert 3 not in classes
    won = found.patches.pixels(Tile(slice(0, 120), slice(0, 140))).argmax(0)
    for channel in range(3):
        allowed = torch.nn.functional.max_pool2d((won == channel)[None].float(), 41, 1, 20)[0] > 0
        assert not (classes == channel)[~allowed.numpy()].any()


def test_edges_are_found_where_colours_change():
    rows, columns = np.mgrid[:160, :200]
    labels = ((rows - 83) ** 2 + (columns - 101) ** 2 < 47**2).astype(np.uint8)
    image = scene(labels, [(80, 120, 60), (200, 60, 50)], noise=6)
    plain = make_map(image, blurred_patches(labels, 2)).patches
    before = plain.pixels(Tile(slice(0, 160), slice(0, 200))).argmax(0).numpy()
    classes, _ = decide(make_map(image, blurred_patches(labels, 2)))
    wrong = (classes != labels).sum()
    assert wrong < 0.1 * (before != labels).sum()
    assert abs(classes.sum() - labels.sum()) < 0.01 * labels.sum()


@pytest.mark.parametrize("noise", [0, 12])
def test_thin_things_survive(noise):
    labels = np.zeros((160, 200), np.uint8)
    labels[:, 60:64] = 1  # a pole
    labels[80:82, 100:] = 1  # a wire
    labels[20:60, 130:170] = 1  # a square ...
    labels[32:48, 144:160] = 0  # ... with a hole
    image = scene(labels, [(90, 140, 200), (40, 40, 45)], noise)
    shares = blurred_patches(labels, 2)
    # the words are sure of every patch that has some of it
    shares[1] = torch.where(shares[1] > 0.1, shares[1].clamp(min=0.8), shares[1])
    shares[0] = 1 - shares[1]
    classes, _ = decide(make_map(image, shares))
    for name, part in {
        "pole": (slice(8, 152), slice(60, 64)),
        "wire": (slice(80, 82), slice(108, 192)),
        "square": (slice(20, 32), slice(130, 170)),
    }.items():
        assert (classes[part] == 1).mean() > 0.9, name
    assert (classes[32:48, 144:160] == 0).mean() > 0.9
    assert (classes[100:150, 80:190] == 0).all()


# -- Probabilities


def test_confidence_falls_near_borders_and_is_that_of_the_words_elsewhere():
    labels = np.zeros((128, 192), np.uint8)
    labels[:, 96:] = 1
    image = scene(labels, [(200, 40, 40), (40, 40, 200)])
    certain = torch.tensor([[0.9, 0.2], [0.1, 0.8]])[:, torch.from_numpy(labels[::8, ::8]).long()]
    found = make_map(image, certain)
    classes, confidence = decide(found)
    np.testing.assert_array_equal(classes, labels)
    assert confidence[:, :60] == pytest.approx(0.9, abs=1e-3)
    assert confidence[:, 130:] == pytest.approx(0.8, abs=1e-3)
    assert (confidence > 0.6).all()


def test_heat_maps_and_single_pixels_agree_with_the_labels():
    image, probabilities = random_case((90, 130), 4, 8)
    found = make_map(image, probabilities)
    classes, confidence = decide(found)
    heat = np.stack([found.heat_map(channel) for channel in range(4)])
    own = np.take_along_axis(heat, classes[None], 0)[0]
    np.testing.assert_array_equal(own, confidence)
    for row, column in [(0, 0), (89, 129), (40, 77)]:
        np.testing.assert_array_equal(found.at(row, column), heat[:, row, column])


def test_the_median_is_the_median():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 30, 40, 3), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), (1, 2))
    expected = np.median(windows, (-2, -1)).astype(np.uint8)  # two images, 28, 38, 3
    found = median_of_nine(torch.from_numpy(pixels).flatten(), line=120, step=3)
    found = found.as_strided((2, 28, 38, 3), (30 * 120, 120, 3, 1))
    np.testing.assert_array_equal(found, expected)
