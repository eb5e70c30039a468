"""Classes that are left out before pixels are compared: none of them would have won."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.segment.cells import CellGrid
from dinoiser.segment.contest import Blocks, hold_contest
from dinoiser.segment.edges import Fit
from dinoiser.segment.probability_map import Tile
from tests.helpers.series import cases


def values_at_pixels(fit, grid, image, rows, columns):
    """Functions of colour between cells, of the colours of pixels: (K, rows, columns) float64."""
    weights = []
    for axis, places in enumerate((rows, columns)):
        scale = grid.working_size[axis] / grid.size[axis] / grid.side
        centres = (np.arange(places.start, places.stop) + 0.5) * scale - 0.5
        cells = np.arange(grid.counts[axis])
        distance = np.abs(centres.clip(0, grid.counts[axis] - 1)[:, None] - cells)
        weights.append((1 - distance).clip(0))
    down, across = weights
    functions = np.einsum("yi,kfij,xj->kfyx", down, fit.functions.numpy(), across)
    colours = image[rows, columns].transpose(2, 0, 1) / 255
    return (functions[:, :3] * colours).sum(1) + functions[:, 3]


@cases(60)
@given(
    size=st.tuples(st.integers(3, 60), st.integers(3, 60)),
    scale=st.sampled_from([0.3, 1, 2.5]),
    flatness=st.sampled_from([1, 8, 64]),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_a_class_that_wins_a_pixel_is_among_those_of_its_block(size, scale, flatness, seed, data):
    rng = np.random.default_rng(seed)
    working = tuple(max(1, round(length * scale)) for length in size)
    grid = CellGrid(size, working, side=4)
    # blotches of nearly one colour, as in photographs, so that something can be left out
    blotches = rng.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3))
    image = blotches.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    image = (image + rng.integers(0, 1 + 255 // flatness, image.shape)).clip(0, 255)
    image = image.astype(np.uint8)
    functions = torch.from_numpy(rng.normal(0, 1, (5, 4, *grid.counts)))
    allowed = torch.from_numpy(rng.random((5, *grid.counts)) < 0.7)
    allowed[0] = True
    whole = Tile.whole(grid.counts)
    fit = Fit(whole, list(range(5)), functions[:, 0], allowed, functions[:, 0], functions)

    top, left = (data.draw(st.integers(0, length - 1)) for length in size)
    bottom, right = (
        data.draw(st.integers(first + 1, length))
        for first, length in zip((top, left), size, strict=True)
    )
    part = Tile(slice(top, bottom), slice(left, right))
    around = part.grow(1, size)
    rows, columns = (Blocks.along(grid, axis, places, 0) for axis, places in enumerate(part))
    margin = top - around.rows.start, left - around.columns.start
    contest = hold_contest(fit, rows, columns, image[around], margin)

    values = values_at_pixels(fit, grid, image, *part)
    cell_rows, cell_columns = (grid.cell_of_each(axis, part[axis]).numpy() for axis in (0, 1))
    values[~allowed.numpy()[:, cell_rows[:, None], cell_columns]] = -np.inf
    # which classes can win, by pixel
    down, across = (np.arange(len(b.before)).repeat(b.lengths) for b in (rows, columns))
    can_win = contest.can_win[:, down[:, None], across]
    assert np.take_along_axis(can_win, values.argmax(0)[None], 0).all()


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
