"""`dinoiser demo`: the whole chain does what its words say, measured on drawn scenes."""

import json

import numpy as np
import pytest
from PIL import Image

from dinoiser.evaluation.drawn_scenes import SCENE_SETS, mean_iou_by_step
from dinoiser.evaluation.metrics import ClassIoU
from tests.helpers.command_line import dinoiser


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that the demo leaves, and its figures."""
    folder = tmp_path_factory.mktemp("demo")
    code, out, _ = dinoiser("demo", "-o", folder, "--json")
    assert code == 0
    return folder, json.loads(out)


def test_easy_scenes_are_labelled_right(demo):
    _, document = demo
    for scenes in ("easy 224x224", "easy 320x448"):
        assert document["mean_iou"][scenes]["full"] >= 0.75


def test_the_heads_help_on_hard_scenes(demo):
    figures = demo[1]["mean_iou"]["hard 224x224"]
    assert figures["full"] > figures["MaskCLIP"]


@pytest.mark.slow
@pytest.mark.parametrize("scenes", SCENE_SETS, ids=lambda scenes: scenes.name)
def test_on_a_hundred_scenes_the_heads_help_or_do_no_harm(tiny, scenes):
    figures = mean_iou_by_step(tiny, scenes.draw())
    if scenes.hard:
        assert figures["full"] > figures["MaskCLIP"]
    else:
        assert figures["full"] >= 0.75
        assert figures["full"] >= figures["MaskCLIP"] - 0.01


def test_it_leaves_images_masks_and_previews(demo):
    folder, document = demo
    images = sorted((folder / "images").glob("*.png"))
    assert len(images) == document["labelled"] == 8
    for image in images:
        with Image.open(folder / "labels" / "masks" / image.name) as mask:
            assert len(np.unique(np.asarray(mask))) >= 2
        assert (folder / "labels" / "overlays" / image.with_suffix(".jpg").name).exists()


def test_mean_iou_by_hand():
    score = ClassIoU()
    score.add(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]), ["background", "dog"])
    score.add(np.array([[0, 1]]), np.array([[0, 0]]), ["background", "cat"])
    expected = {"background": 2 / 4, "dog": 2 / 3}
    assert score.by_class() == pytest.approx(expected)
    assert score.mean() == pytest.approx(np.mean(list(expected.values())))
