"""What the command line prints on a terminal of 40 columns."""

import numpy as np
import pytest
from PIL import Image

from dinoiser.export import write_classes
from dinoiser.export.png import write_mask
from dinoiser.models.catalog import list_models
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes

NAME = "an extraordinarily long name [of] a :dog:"


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, scene in enumerate(draw_scenes(12, 31, (64, 80))):
        Image.fromarray(scene.image).save(folder / f"{i:02}.png")
    return folder


def test_models_list_names_every_model_in_full(dinoiser):
    code, out, _ = dinoiser("models", "list")
    lines = out.splitlines()
    assert code == 0
    assert "…" not in out
    assert max(map(len, lines)) <= 40
    for model in list_models():
        assert model.name in lines
        assert f"  size: {model.size / 1e6:.0f} MB" in lines
        assert " ".join(model.description.split()) in " ".join(out.split())


def test_models_list_on_80_columns_is_a_table(dinoiser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    heading, *lines = dinoiser("models", "list")[1].splitlines()
    assert heading.split() == ["name", "size", "cached", "licence", "description"]
    assert max(map(len, lines)) <= 80
    for model in list_models():
        assert any(line.startswith(f"{model.name} ") for line in lines)


def test_a_labels_summary_keeps_names_and_numbers(folder, dinoiser, tmp_path):
    arguments = ("-o", tmp_path / "out", "-m", "tiny", "-d", "cpu", "--whole", "--limit", 2)
    code, out, err = dinoiser("label", folder, "-p", NAME, *arguments)
    assert code == 0, err
    assert "…" not in out
    assert f"██ {NAME}" in out.splitlines()
    shares = [line for line in out.splitlines() if line.startswith("  share of pixels: ")]
    assert shares == ["  share of pixels: 100.0%"]


def test_scores_keep_names_and_numbers(dinoiser, tmp_path):
    prompts = PromptSet.from_names(["background", NAME])
    for folder in ("predicted", "truth"):
        (tmp_path / folder).mkdir()
        write_mask(np.array([[0, 1], [1, 1]], np.uint8), prompts, tmp_path / folder / "a.png")
        write_classes(prompts, tmp_path / folder / "classes.json")
    code, out, err = dinoiser("evaluate", "masks", tmp_path / "predicted", tmp_path / "truth")
    assert code == 0, err
    assert "…" not in out
    assert NAME in out
    assert "100.0" in out


def test_what_models_agree_on_is_whole(folder, dinoiser, tmp_path):
    models = ("-m", "tiny,maskclip-tiny", "-o", tmp_path / "a.png", "-d", "cpu")
    code, out, err = dinoiser("compare", folder / "00.png", "-p", "dog, cat", *models)
    assert code == 0, err
    assert "…" not in out
    assert "tiny = maskclip-tiny" in out
    assert "%" in out


def test_a_fits_figures_are_whole(folder, dinoiser, tmp_path):
    quick = ("-m", "tiny", "-d", "cpu", "--steps", 2, "--batch-size", 2, "--crop", 64)
    code, out, err = dinoiser("train", folder, "-o", tmp_path / "heads.safetensors", *quick)
    assert code == 1, err  # two steps make no better heads
    assert "…" not in out
    heading = next(line for line in out.splitlines() if line.startswith("heads "))
    assert heading.split("  ")[0] == "heads"
    assert "pairs (IoU)" in heading
    assert "objects (IoU)" in heading
