"""PAMR against the arrays of the published code."""

import numpy as np
import pytest
import torch

from dinoiser.errors import SettingsError
from dinoiser.prompts import PromptSet
from dinoiser.segment.in_parts.lazy import segment_array
from dinoiser.segment.refine import CLASSES_AT_ONCE, pamr
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.places import GOLDENS


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "pamr" / "golden.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def test_the_papers_rounds_and_distances_are_the_default(golden):
    refined = pamr(golden["probabilities"], golden["image"])
    assert (refined - golden["paper"]).abs().max() < 1e-5


def test_other_rounds_and_distances(golden):
    refined = pamr(golden["probabilities"], golden["image"], rounds=3, dilations=(1, 2))
    assert (refined - golden["short"]).abs().max() < 1e-5


def test_classes_do_not_depend_on_how_many_there_are(golden):
    maps = golden["probabilities"].repeat(CLASSES_AT_ONCE // 2, 1, 1)
    refined = pamr(maps, golden["image"], rounds=2)
    alone = pamr(golden["probabilities"], golden["image"], rounds=2)
    assert torch.equal(refined[-4:], alone)


def test_in_parts_it_is_refused_before_anything_is_computed(tiny):
    with pytest.raises(SettingsError, match=r"pamr.*one pass.*use 'edges'"):
        segment_array(np.zeros((50, 60, 3), np.uint8), PromptSet.parse("dog"), tiny, refine="pamr")


def test_windows_are_refined_at_the_working_size(tiny, scene, scene_prompts):
    """Twice as large, an image has the same working size and so the same labels, enlarged."""
    large = scene.image.repeat(2, 0).repeat(2, 1)
    small, twice = (
        Segmenter(tiny, refine="pamr", antialias=True).segment(image, scene_prompts).labels
        for image in (scene.image, large)
    )
    assert (twice[::2, ::2] == small).mean() > 0.99
