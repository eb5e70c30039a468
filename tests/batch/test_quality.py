"""The numbers by which images are sorted for a review."""

from itertools import chain

import numpy as np
import pytest
from scipy.stats import spearmanr

from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.batch.quality import expected_iou, expected_work
from dinoiser.scenes import draw_scenes
from dinoiser.scenes.drawing import SHAPES


def test_what_is_certain_is_expected_to_be_right():
    assert expected_iou({0: 900, 1: 100}, {0: 1.0, 1: 1.0}) == 1
    assert expected_work({0: 900, 1: 100}, {0: 1.0, 1: 1.0}) == 0


def test_doubt_of_a_class_is_its_error_and_the_others_miss_it():
    # of class 1's 100, 80 are right, and half of what the others doubt, 10 + 30, it missed
    expected = (80 / 120 + 90 / 125 + 70 / 115) / 3
    confidence = {1: 0.8, 2: 0.9, 3: 0.7}
    assert expected_iou({1: 100, 2: 100, 3: 100}, confidence) == pytest.approx(expected)


def test_background_counts_only_where_it_is_alone():
    assert expected_iou({0: 100, 1: 0}, {0: 0.7, 1: None}) == pytest.approx(0.7)
    assert expected_iou({0: 100, 1: 100}, {0: 0.7, 1: 1.0}) == pytest.approx(100 / 130)


def test_nothing_is_expected_where_all_is_ignored():
    assert expected_iou({255: 100}, {}) is None
    assert expected_work({255: 100}, {}) is None


def test_work_counts_every_class_alike():
    assert expected_work({0: 9000, 1: 1, 2: 0}, {0: 0.9, 1: 0.6, 2: None}) == pytest.approx(0.25)


@pytest.mark.slow
def test_on_drawn_scenes_the_order_follows_the_truth():
    """Easy and hard scenes together: among scenes of one kind, the order is noisy."""
    prompts = PromptSet.from_names(["background", *SHAPES])
    segmenter = Segmenter(load_model("tiny"))
    rows = []
    for scene in chain(*(draw_scenes(75, 5, (240, 320), hard=hard) for hard in (False, True))):
        shapes = [prompts.names.index(name.split()[-1]) for name in scene.names]
        truth = np.array([0, *shapes])[scene.labels]
        result = segmenter.segment(scene.image, prompts)
        labels, figures = result.labels, (result.pixel_counts(), result.mean_confidence())
        ious = [
            np.sum((labels == k) & (truth == k)) / np.sum((labels == k) | (truth == k))
            for k in np.unique(truth)
        ]
        mean = np.mean(result.confidence, dtype=float)
        scores = expected_iou(*figures), expected_work(*figures), mean
        rows.append((np.mean(ious), np.mean(labels != truth), *scores))
    miou, wrong, expected, work, mean = np.transpose(rows)
    assert spearmanr(expected, miou)[0] > spearmanr(mean, miou)[0] + 0.1
    assert spearmanr(expected, miou)[0] > 0.45
    assert spearmanr(work, wrong)[0] > max(0.45, -spearmanr(mean, wrong)[0])
