"""Which classes can win between cells, and which of them wins a pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from dinoiser.segment.block_labels import BlockLabels
from dinoiser.segment.canvas import Canvas
from dinoiser.segment.cells import CellGrid
from dinoiser.segment.contest import Blocks, hold_contest
from dinoiser.segment.edges import Fit
from dinoiser.segment.probability_map import Tile
from tests.helpers.series import cases


def values_at_pixels(fit, grid, image, rows, columns):
    """What classes have at pixels, by their functions and their shares: (K, rows, columns) each."""
    weights = []
    for axis, places in enumerate((rows, columns)):
        scale = grid.working_size[axis] / grid.size[axis] / grid.side
        centres = (np.arange(places.start, places.stop) + 0.5) * scale - 0.5
        cells = np.arange(grid.counts[axis])
        distance = np.abs(centres.clip(0, grid.counts[axis] - 1)[:, None] - cells)
        weights.append((1 - distance).clip(0))
    down, across = weights
    functions, shares = (
        np.einsum("yi,kfij,xj->kfyx", down, maps.numpy(), across)
        for maps in (fit.functions, fit.shares[:, None])
    )
    colours = image[rows, columns].transpose(2, 0, 1) / 255
    values = (functions[:, :3] * colours).sum(1) + functions[:, 3]
    own = (grid.cell_of_each(axis, places).numpy() for axis, places in enumerate((rows, columns)))
    values[~fit.allowed.numpy()[:, *np.ix_(*own)]] = -np.inf
    return values, shares[:, 0]


@st.composite
def contests(draw):
    """A fit, its grid, an image and a part of it."""
    size = draw(st.tuples(st.integers(3, 60), st.integers(3, 60)))
    scale, flatness = draw(st.sampled_from([0.3, 1, 2.5])), draw(st.sampled_from([1, 8, 64]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    working = tuple(max(1, round(length * scale)) for length in size)
    grid = CellGrid(size, working, side=4)
    # blotches of nearly one colour, as in photographs, so that something can be left out
    blotches = rng.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3))
    image = blotches.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    image = (image + rng.integers(0, 1 + 255 // flatness, image.shape)).clip(0, 255)
    functions = torch.from_numpy(rng.normal(0, 1, (5, 4, *grid.counts)))
    shares = torch.from_numpy(rng.random((5, *grid.counts)))
    allowed = torch.from_numpy(rng.random((5, *grid.counts)) < 0.7)
    allowed[0] = True
    fit = Fit(Tile.whole(grid.counts), list(range(5)), shares, allowed, shares, functions)
    starts = [draw(st.integers(0, length - 1)) for length in size]
    ends = [draw(st.integers(*pair)) for pair in zip([s + 1 for s in starts], size)]  # noqa: B905
    return fit, grid, image.astype(np.uint8), Tile(*map(slice, starts, ends))


def hold(fit, grid, image, part):
    """Hold the contest; also return the part's image, and the margin."""
    around = part.grow(1, image.shape[:2])
    margin = part.rows.start - around.rows.start, part.columns.start - around.columns.start
    rows, columns = (Blocks.along(grid, axis, places, 0) for axis, places in enumerate(part))
    return hold_contest(fit, rows, columns, image[around], margin), image[around], margin


@cases(60)
@given(contests())
def test_a_class_that_wins_a_pixel_is_among_those_of_its_block(case):
    fit, grid, image, part = case
    contest, _, _ = hold(*case)
    values, _ = values_at_pixels(fit, grid, image, *part)
    # which classes can win, by pixel
    down, across = (np.arange(len(b.before)).repeat(b.lengths) for b in contest[:2])
    can_win = contest.can_win[:, down[:, None], across]
    assert np.take_along_axis(can_win, values.argmax(0)[None], 0).all()


@cases(60)
@given(contests(), st.integers(1, 2_000), st.booleans())
def test_a_pixel_gets_the_class_that_has_most_there(case, at_once, from_right):
    fit, grid, image, part = case
    if from_right:  # memory that no block can be cut from as it lies there
        image = image[:, ::-1].copy()[:, ::-1]
        case = fit, grid, image, part
    canvas = Canvas.blank(
        part, np.array([3, 300, 7, 9, 11], np.uint16), torch.device("cpu"), np.float32
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dinoiser.segment.block_labels.PIXELS_AT_ONCE", at_once)
        contest, around, margin = hold(*case)
        BlockLabels(fit, fit.shares, contest, around, margin).fill(canvas)
    labels, confidence = canvas.arrays()
    winner = np.searchsorted([3, 7, 9, 11, 300], labels)
    winner = np.array([0, 2, 3, 4, 1])[winner]

    smooth = np.stack(
        [ndimage.median_filter(image[..., c], 3, mode="nearest") for c in range(3)], 2
    )
    values, shares = values_at_pixels(fit, grid, smooth, *part)
    [chosen], [share] = (np.take_along_axis(of, winner[None], 0) for of in (values, shares))
    np.testing.assert_allclose(chosen, values.max(0), atol=1e-5)
    np.testing.assert_allclose(confidence, share, atol=1e-6)


def test_a_class_is_left_out_where_another_is_ahead_for_every_colour():
    grid = CellGrid((40, 40), (40, 40), side=4)
    functions = torch.zeros(3, 4, *grid.counts, dtype=torch.float64)
    functions[0, 0], functions[1, 0] = 1, -1  # the more red, the more of the first class
    functions[1, 3], functions[2, 3] = 1, 0.4
    everywhere = torch.ones(3, *grid.counts, dtype=torch.bool)
    shares = functions[:, 0]
    fit = Fit(Tile.whole(grid.counts), [0, 1, 2], shares, everywhere, shares, functions)
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:, 0] = 255
    blocks = [Blocks.along(grid, axis, slice(0, 40), 0) for axis in (0, 1)]
    contest = hold_contest(fit, *blocks, image, (0, 0))
    can_win = contest.can_win.any(1)  # the fifth of ten blocks has both colours
    assert can_win[:, :4].tolist() == [[False] * 4, [True] * 4, [False] * 4]
    assert can_win[:, -4:].tolist() == [[True] * 4, [False] * 4, [False] * 4]
    assert can_win[:, 4].all()  # at the border, any colour may be
