"""Scenes of other domains: still described exactly, and unlike the usual ones."""

import numpy as np
import pytest

from dinoiser.errors import SettingsError
from dinoiser.scenes import COLORS, DOMAINS, SHAPES, draw_scenes

CLASSES = {f"{color} {shape}" for color in COLORS for shape in SHAPES}


def scenes(domain, count=12):
    return list(draw_scenes(count, 3, (128, 128), domain=domain))


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_scene_is_described_completely(domain):
    for scene, again in zip(scenes(domain), scenes(domain), strict=True):
        assert scene.image.shape == (128, 128, 3)
        assert scene.image.dtype == np.uint8
        assert set(np.unique(scene.labels)) - {0} == set(range(1, len(scene.names) + 1))
        assert set(scene.names) <= CLASSES
        np.testing.assert_array_equal(scene.image, again.image)


def test_night_is_dark_and_noisy():
    def brightness_and_noise(domain):
        images = [scene.image.astype(float).mean(-1) for scene in scenes(domain)]
        steps = [np.abs(np.diff(image)).mean() / image.mean() for image in images]
        return np.mean(images), np.median(steps)

    bright, noise = brightness_and_noise(None)
    dark, more = brightness_and_noise("night")
    assert dark < 0.5 * bright
    assert more > 1.5 * noise


def test_the_microscope_is_out_of_focus_before_a_pale_field():
    for scene in scenes("microscope"):
        grey = scene.image.astype(float).mean(-1)
        assert np.median(grey[scene.labels == 0]) > 120
        # across an object's border, brightness changes over several pixels
        assert np.abs(np.diff(grey, axis=1)).max() < 80


def test_from_above_objects_are_small_and_contrast_is_low():
    def size_and_contrast(domain):
        drawn = scenes(domain, 30)
        shares = [(s.labels == n).mean() for s in drawn for n in range(1, len(s.names) + 1)]
        return np.mean(shares), np.mean([np.ptp(np.percentile(s.image, (2, 98))) for s in drawn])

    usual, above = size_and_contrast(None), size_and_contrast("above")
    assert above[0] < 0.5 * usual[0]
    assert above[1] < 0.85 * usual[1]


def test_an_unknown_domain_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match="'sea', expected one of night, microscope, above"):
        next(draw_scenes(1, 0, domain="sea"))
