"""Views of an image know their places: what they show is where they say."""

import numpy as np
import torch
from dinoiser_training.tiny.views import Place, change_colours


def coordinates(count, side):
    """Images whose two channels hold x and y of each pixel, in [-1, 1]."""
    middles = (torch.arange(side) + 0.5) / side * 2 - 1
    grid = torch.stack(torch.meshgrid(middles, middles, indexing="xy"))
    return grid.expand(count, 2, side, side)


def test_patches_lie_where_the_cut_shows_them():
    place = Place.draw(np.random.default_rng(1), 20, (0.1, 0.8))
    cut = place.cut(coordinates(20, 64), 8)
    points = place.patches((8, 8))
    # the outermost half pixel of an image has no neighbour to interpolate with
    assert (cut - points.movedim(-1, 1)).abs().max() < 1 / 64
    assert points.abs().max() <= 1


def test_a_view_shows_its_own_patches_and_none_outside():
    place = Place.draw(np.random.default_rng(2), 5, (0.1, 0.3))
    assert place.shows(place.patches((4, 4))).all()
    beside = place.centre + 1.01 * place.extent
    assert not place.shows(beside[:, None, None]).any()


def test_half_of_the_views_are_mirrored_and_all_have_the_area_asked_for():
    extent = Place.draw(np.random.default_rng(3), 400, (0.2, 0.5)).extent
    assert 150 < (extent[:, 0] < 0).sum() < 250
    areas = extent.prod(1).abs()
    assert areas.min() >= 0.2 - 1e-6
    assert areas.max() <= 0.5 + 1e-6


def test_colours_change_from_view_to_view_and_stay_colours():
    pixels = torch.full((2, 3, 8, 8), 0.5) * torch.tensor([1.6, 1, 0.4]).view(3, 1, 1)
    changed = change_colours(np.random.default_rng(4), pixels)
    assert changed.min() >= 0
    assert changed.max() <= 1
    first, second = changed.mean((2, 3))
    assert (first - second).abs().max() > 0.02
    assert (changed.mean((2, 3)).argmax(1) == 0).all()  # red stays red
