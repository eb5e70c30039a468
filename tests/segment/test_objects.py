"""The object at a point: on drawn scenes, in windows, large and alone."""

import numpy as np
import pytest
from scipy import ndimage

from dinoiser import Segmenter
from dinoiser.scenes import draw_scenes
from dinoiser.segment.objects import object_at


def objects_of(scene):
    """Yield each object as a mask, and a pixel inside."""
    rng = np.random.default_rng(1)
    for label in range(1, len(scene.names) + 1):
        parts, count = ndimage.label(scene.labels == label)
        for part in (parts == number for number in range(1, count + 1)):
            if part.sum() > 300:
                depths = ndimage.distance_transform_edt(part)
                places = np.argwhere(depths >= min(6, depths.max()))
                yield part, tuple(places[rng.integers(len(places))].tolist())


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize(("hard", "least"), [(False, 0.9), (True, 0.8)])
def test_most_objects_are_found_from_any_point_inside(tiny, hard, least):
    segmenter = Segmenter(tiny)
    found = []
    for scene in draw_scenes(6, 31, (320, 448), hard=hard):
        encoded = segmenter.encode(scene.image)
        found += [iou(object_at(encoded, *place), mask) for mask, place in objects_of(scene)]
    assert np.mean(np.array(found) > 0.75) >= least


def test_it_hangs_together_and_has_the_point(tiny, scene):
    encoded = Segmenter(tiny).encode(scene.image)
    for row, column in ((0, 0), (223, 287), (100, 3)):
        mask = object_at(encoded, row, column)
        assert mask.shape == scene.labels.shape
        assert mask[row, column]
        parts, count = ndimage.label(mask, np.ones((3, 3)))
        assert count <= 2
        assert sorted(np.bincount(parts[mask]))[0] == 1 or count == 1


def test_more_reach_gives_more_of_the_image(tiny, scene):
    encoded = Segmenter(tiny).encode(scene.image)
    _, (row, column) = next(objects_of(scene))
    sizes = [object_at(encoded, row, column, reach).sum() for reach in (0.1, 0.5, 0.99)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


@pytest.mark.parametrize("settings", [{"refine": "none"}, {"whole": True}])
def test_it_works_with_all_settings(tiny, scene, settings):
    encoded = Segmenter(tiny, **settings).encode(scene.image)
    mask, place = next(objects_of(scene))
    assert iou(object_at(encoded, *place), mask) > 0.5
