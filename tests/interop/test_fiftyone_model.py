"""Masks for words in FiftyOne, by its own classes of models and labels."""

import numpy as np
import pytest

from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.segment.segmenter import Segmenter

fiftyone = pytest.importorskip("fiftyone")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_fiftyone_gets_the_labels_and_their_names():
    from dinoiser.bridges.fiftyone_model import WordModel

    scene = draw_scene(np.random.default_rng(11), (112, 144))
    words = ["background", *scene.names]
    model = WordModel(", ".join(words), "tiny", "cpu")
    with model:
        (label,) = model.predict_all([scene.image])
    assert isinstance(label, fiftyone.Segmentation)
    segmenter = Segmenter(load_model("tiny", device="cpu"))
    expected = segmenter.segment(scene.image, PromptSet.from_names(words)).labels
    np.testing.assert_array_equal(label.mask, expected)
    assert list(model.mask_targets.values()) == words
    assert len(np.unique(label.mask)) > 1
