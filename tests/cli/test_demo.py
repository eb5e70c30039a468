"""`dinoiser demo`: the whole chain does what its words say, measured on drawn scenes."""

import json

import numpy as np
import pytest
from PIL import Image

from dinoiser.evaluation.drawn_scenes import SCENE_SETS, score_by_step
from tests.helpers.command_line import dinoiser


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that the demo leaves, and its figures."""
    folder = tmp_path_factory.mktemp("demo")
    code, out, _ = dinoiser("demo", "-o", folder, "--json")
    assert code == 0
    return folder, json.loads(out)


@pytest.mark.slow
def test_easy_scenes_are_labelled_right(demo):
    _, document = demo
    for scenes in ("easy 224x224", "easy 320x448"):
        assert document["mean_iou"][scenes]["full"] >= 0.75


@pytest.mark.slow
def test_the_heads_help_on_hard_scenes(demo):
    figures = demo[1]["mean_iou"]["hard 224x224"]
    assert figures["full"] > figures["MaskCLIP"]


@pytest.mark.slow
def test_edges_follow_the_image(demo):
    for scenes, by_step in demo[1]["boundary_iou"].items():
        assert by_step["+ edges"] > by_step["full"] + 0.1
        figures = demo[1]["mean_iou"][scenes]
        assert figures["+ edges"] > figures["full"]


@pytest.mark.slow
@pytest.mark.parametrize("scenes", SCENE_SETS, ids=lambda scenes: scenes.name)
def test_on_a_hundred_scenes_the_heads_help_or_do_no_harm(tiny, scenes):
    scores = score_by_step(tiny, scenes.draw())
    figures = {step: score.miou for step, score in scores.items()}
    assert figures["+ edges"] > figures["full"]
    assert scores["+ edges"].boundary > scores["full"].boundary + 0.1
    if scenes.hard:
        assert figures["full"] > figures["MaskCLIP"]
    else:
        assert figures["full"] >= 0.75
        assert figures["full"] >= figures["MaskCLIP"] - 0.01


@pytest.mark.slow
def test_it_leaves_images_masks_and_previews(demo):
    folder, document = demo
    images = sorted((folder / "images").glob("*.png"))
    assert len(images) == document["labelled"] == 8
    for image in images:
        with Image.open(folder / "labels" / "masks" / image.name) as mask:
            assert len(np.unique(np.asarray(mask))) >= 2
        assert (folder / "labels" / "overlays" / image.with_suffix(".jpg").name).exists()
