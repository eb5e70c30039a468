"""`dinoiser demo`: the whole chain does what its words say, measured on drawn scenes."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from dinoiser.cli import main
from dinoiser.evaluation.drawn_scenes import SCENE_SETS, mean_iou_by_step
from dinoiser.evaluation.metrics import ClassIoU


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that the demo leaves, and its figures."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr(sys, "argv", ["dinoiser", "demo", "-o", str(folder), "--json"])
        patch.setattr("builtins.print", lambda *args, **_: lines.extend(args))
        main_without_exit()
    return folder, json.loads("".join(lines))


def main_without_exit():
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code


@pytest.fixture(scope="module")
def figures(tiny):
    """Mean IoU by step of the method on 100 scenes of each set."""
    return {scenes.name: mean_iou_by_step(tiny, scenes.draw()) for scenes in SCENE_SETS}


@pytest.mark.parametrize("scenes", ["easy 224x224", "easy 320x448"])
def test_easy_scenes_are_labelled_right(figures, scenes):
    assert figures[scenes]["full"] >= 0.75
    assert figures[scenes]["full"] >= figures[scenes]["MaskCLIP"] - 0.01


def test_the_heads_help_on_hard_scenes(figures):
    assert figures["hard 224x224"]["full"] > figures["hard 224x224"]["MaskCLIP"]


def test_it_leaves_images_masks_and_previews(demo):
    folder, document = demo
    images = sorted((folder / "images").glob("*.png"))
    assert len(images) == document["labelled"] == 8
    assert document["mean_iou"]["easy 224x224"]["full"] > 0.6  # on fewer scenes than above
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
