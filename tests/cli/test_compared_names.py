"""Which models `dinoiser compare` is told to compare."""

import json

import pytest
from PIL import Image


@pytest.fixture
def compare(scene, tmp_path, dinoiser):
    path = tmp_path / "scene.png"
    Image.fromarray(scene.image).save(path)
    drawing = tmp_path / "drawing.png"
    words = ("-p", "dog, cat", "-d", "cpu", "-o", drawing, "--json")
    return lambda *models: dinoiser("compare", path, *words, *models)


def test_a_model_named_twice_is_refused_by_its_name(compare):
    code, out, err = compare("-m", "tiny,maskclip-tiny,tiny")
    assert (code, out) == (2, "")
    assert err == ("Error: The model tiny is named twice, expected at least two different ones.\n")


@pytest.mark.parametrize(
    "models", [("-m", "tiny, maskclip-tiny"), ("-m", "tiny", "-m", "maskclip-tiny")], ids=" ".join
)
def test_models_are_separated_by_commas_or_named_one_by_one(models, compare):
    code, out, err = compare(*models)
    assert code == 0, err
    [image] = json.loads(out)["images"]
    assert [pair["models"] for pair in image["pairs"]] == [["tiny", "maskclip-tiny"]]
