"""Formats on the command line: `-f coco,yolo` as well as `-f coco -f yolo`."""

import json

import pytest
from PIL import Image

LABEL = ("-p", "background, red circle", "-m", "tiny", "-d", "cpu", "--whole", "--no-report")


@pytest.fixture
def image_file(scene, tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(scene.image).save(path)
    return path


def made(folder):
    """Which formats a job's folder holds."""
    signs = {
        "png": "masks/scene.png",
        "overlay": "overlays/scene.jpg",
        "confidence": "confidence/scene.png",
        "coco": "annotations.json",
        "panoptic": "panoptic.json",
        "yolo": "data.yaml",
    }
    return {name for name, sign in signs.items() if (folder / sign).exists()}


@pytest.mark.parametrize(
    "flags",
    [("-f", "coco,yolo"), ("-f", "coco", "-f", "yolo"), ("-f", "coco, yolo,"), ("-f", "yolo,coco")],
    ids=" ".join,
)
def test_label_takes_formats_in_any_form(flags, image_file, dinoiser, tmp_path):
    code, _, err = dinoiser("label", image_file, "-o", tmp_path / "out", *LABEL, *flags)
    assert code == 0, err
    assert made(tmp_path / "out") == {"png", "coco", "yolo"}


def test_without_any_there_are_masks_and_previews(image_file, dinoiser, tmp_path):
    dinoiser("label", image_file, "-o", tmp_path / "out", *LABEL)
    assert made(tmp_path / "out") == {"png", "overlay"}


def test_export_takes_them_too_and_names_each_once(image_file, dinoiser, tmp_path):
    dinoiser("label", image_file, "-o", tmp_path / "out", *LABEL, "-f", "png")
    flags = ("-f", "coco,yolo", "-f", "coco,panoptic")
    code, out, err = dinoiser("export", tmp_path / "out", *flags, "--json")
    assert code == 0, err
    assert json.loads(out)["formats"] == ["coco", "yolo", "panoptic"]
    assert made(tmp_path / "out") == {"png", "coco", "yolo", "panoptic"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("coco,cocoa", "'cocoa' is unknown"),
        ("", "-f is '', expected at least one format, such as -f png,coco."),
        (" , ", "-f is ' , ', expected at least one format, such as -f png,coco."),
    ],
)
def test_unknown_and_empty_formats_are_named(given, said, image_file, dinoiser, tmp_path):
    (tmp_path / "job").mkdir()
    for command in (
        ("label", image_file, "-o", tmp_path / "out", *LABEL, "-f", given),
        ("export", tmp_path / "job", "-f", given),
    ):
        code, out, err = dinoiser(*command)
        assert (code, out) == (2, "")
        assert err.startswith("Error: ")
        assert said in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
