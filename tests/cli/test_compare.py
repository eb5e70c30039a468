"""`dinoiser compare`: models side by side, and where they disagree."""

import json

import numpy as np
import pytest
from PIL import Image

from dinoiser.evaluation.agreement import Comparison
from dinoiser.export.comparison import DISAGREEMENT, PANEL_WIDTH, ComparisonRow, build_comparison
from dinoiser.images import read_image
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.band_jobs import draw_twice


@pytest.fixture
def image_file(scene, tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(scene.image).save(path)
    return path


def test_agreement_is_the_share_of_equal_pixels(dinoiser, tmp_path):
    scene = draw_scene(np.random.default_rng(5), hard=True)
    scene_prompts = PromptSet.from_names(["background", *scene.names, *scene.absent])
    image_file, words = tmp_path / "scene.png", scene_prompts.to_inline()
    Image.fromarray(scene.image).save(image_file)
    drawing = tmp_path / "side by side.png"
    arguments = ("-m", "tiny,maskclip-tiny", "-p", words, "-d", "cpu", "-o", drawing, "--json")
    code, out, err = dinoiser("compare", image_file, *arguments)
    assert code == 0, err
    one, other = (
        Segmenter(load_model(name, "cpu")).segment(scene.image, scene_prompts).labels
        for name in ("tiny", "maskclip-tiny")
    )
    share = float((one == other).mean())
    document = json.loads(out)
    assert 0 < share < 1
    assert document["agreement"] == pytest.approx(share)
    [image] = document["images"]
    assert image["pairs"] == [{"models": ["tiny", "maskclip-tiny"], "agreement": share}]
    with Image.open(drawing) as drawn:
        assert drawn.width > 4 * PANEL_WIDTH  # the image, two models, their disagreement


def test_three_models_agree_where_all_three_do():
    labels = {
        "a": np.array([[1, 1, 2, 3]], np.uint8),
        "b": np.array([[1, 1, 2, 2]], np.uint8),
        "c": np.array([[1, 2, 2, 1]], np.uint8),
    }
    comparison = Comparison(np.zeros((1, 4, 3), np.uint8), labels)
    assert comparison.answers.tolist() == [[1, 2, 1, 3]]
    assert comparison.agreement == 0.5
    assert comparison.pairs() == {("a", "b"): 0.75, ("a", "c"): 0.5, ("b", "c"): 0.5}


def test_disagreement_is_red_and_agreement_is_not():
    image = np.full((PANEL_WIDTH, PANEL_WIDTH, 3), 200, np.uint8)
    one, other = np.ones(image.shape[:2], np.uint8), np.ones(image.shape[:2], np.uint8)
    other[:, PANEL_WIDTH // 2 :] = 2
    comparison = Comparison(image, {"one": one, "other": other})
    row = ComparisonRow("x.png", *comparison, comparison.answers, comparison.agreement)
    drawn = np.asarray(build_comparison([row], PromptSet.parse("dog, cat")))
    map_ = drawn[40 : 20 + PANEL_WIDTH, -PANEL_WIDTH:].astype(int)
    agreed, disputed = map_[:, : PANEL_WIDTH // 2 - 20], map_[:, PANEL_WIDTH // 2 : -20]
    assert np.ptp(agreed, axis=-1).max() == 0  # grey
    assert np.abs(disputed - DISAGREEMENT).max() <= 1


@pytest.mark.parametrize("name", ["drawing.jpg", "folder", "folder.png"])
def test_what_is_no_png_is_refused_before_a_model_is_loaded(name, image_file, dinoiser, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    arguments = ("-p", "dog, cat", "-o", tmp_path / name)  # models that are not here
    code, _, err = dinoiser("compare", image_file, *arguments)
    assert code == 2
    assert f"cannot be written to {tmp_path / name}: give a file whose name ends in .png" in err


@pytest.mark.parametrize("models", ["tiny", "tiny,tiny", ","])
def test_one_model_is_not_enough(models, image_file, dinoiser):
    code, _, err = dinoiser("compare", image_file, "-m", models, "-p", "dog, cat")
    assert code == 2
    assert "at least two different ones" in err


def test_chosen_bands_are_compared_as_plain_images_without_what_has_no_data(dinoiser, tmp_path):
    plain, banded, _ = draw_twice(tmp_path, 1)
    words = ("-m", "tiny,maskclip-tiny", "-p", "background, red star, circle", "-d", "cpu")
    documents = []
    for images, more in ((plain, ()), (banded, ("--bands", "4,3,2", "--nodata", 9))):
        drawing = images.with_suffix(".png")
        code, out, err = dinoiser("compare", images, *words, *more, "-o", drawing, "--json")
        assert code == 0, err
        documents.append(json.loads(out) | {"output": None})
    assert documents[0] == documents[1]
    assert plain.with_suffix(".png").read_bytes() == banded.with_suffix(".png").read_bytes()
    with_data = np.ones((224, 224), bool)
    with_data[:50, :70] = False
    one, other = (
        Segmenter(load_model(name, "cpu")).segment(
            read_image(plain / "0.tif"), PromptSet.parse("background, red star, circle")
        )
        for name in ("tiny", "maskclip-tiny")
    )
    share = float((one.labels == other.labels)[with_data].mean())
    assert 0 < share < 1
    assert documents[0]["agreement"] == pytest.approx(share)


def test_bands_that_cannot_be_are_refused_before_a_model_is_named(dinoiser, tmp_path):
    code, _, err = dinoiser("compare", tmp_path / "no.tif", "-p", "dog", "--bands", "1,2")
    assert code == 2
    assert "bands is [1, 2], expected one number (grey) or three" in " ".join(err.split())
