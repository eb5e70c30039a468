"""What a result says about its pixels, against counting them one by one."""

import numpy as np
import pytest

from dinoiser.labels import IGNORE
from dinoiser.prompts import PromptSet
from dinoiser.segmentation import HISTOGRAM_BINS, Segmentation


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_the_pixels(seed):
    rng = np.random.default_rng(seed)
    prompts = PromptSet.parse("background, dog, sky, grass")
    labels = rng.choice(np.uint8([0, 1, 3, IGNORE]), (61, 47))
    confidence = rng.random(labels.shape).astype(np.float16)
    confidence[0, :4] = 0, 1, 0.05, 0.95
    result = Segmentation(labels, confidence, prompts)
    assert result.pixel_counts() == {i: int((labels == i).sum()) for i in (0, 1, 2, 3, IGNORE)}
    assert result.mean_confidence()[2] is None
    histogram = result.confidence_histogram()
    assert set(histogram) == {0, 1, 3}
    for label, counts in histogram.items():
        inside = confidence[labels == label]
        bins = np.minimum(inside.astype(np.float32) * HISTOGRAM_BINS, HISTOGRAM_BINS - 1)
        assert counts == tuple(np.bincount(bins.astype(int), minlength=HISTOGRAM_BINS).tolist())
        assert result.mean_confidence()[label] == pytest.approx(inside.astype(float).mean())
