"""Later methods through every command: small random weights in the places of the real ones."""

import json

import numpy as np
import pytest
from PIL import Image

from dinoiser.evaluation.benchmarks import find_benchmark
from dinoiser.export.comparison import MARGIN, PANEL_WIDTH
from dinoiser.export.png import read_mask
from dinoiser.images import read_image
from dinoiser.models.catalog import find_model, list_models
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.benchmark_folders import write_benchmark
from tests.helpers.official_tips import put_files, write_hub_file
from tests.helpers.small_catalogue import put_all, put_clip

WORDS = "background, dog; puppy, grass"


@pytest.fixture(params=["naclip", "tipsv2-b"])
def name(request, make_clip, tmp_path, monkeypatch):
    """A model of the catalogue whose files lie in its cache."""
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path / "cache"))
    entry = find_model(request.param)
    if entry.clip is None:
        put_files(entry, write_hub_file(tmp_path))
    else:
        put_clip(entry, make_clip(quick_gelu=True), monkeypatch)
    return entry.name


@pytest.fixture
def folder(tmp_path):
    """Two drawn scenes of different sizes."""
    for i, size in enumerate([(96, 120), (140, 96)]):
        [scene] = draw_scenes(1, i, size)
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(scene.image).save(path)
    return tmp_path / "images"


def labels_of(name, path):
    model = load_model(name, device="cpu")  # in the number format of commands on this machine
    return Segmenter(model).segment(read_image(path), PromptSet.parse(WORDS)).labels


def test_a_job_labels_a_folder_and_is_done_once(name, folder, dinoiser, tmp_path):
    out = tmp_path / "out"
    arguments = ("label", folder, "-m", name, "-p", WORDS, "-o", out, "-d", "cpu", "--json")
    code, _, err = dinoiser(*arguments)
    assert code == 0, err
    for path in folder.iterdir():
        np.testing.assert_array_equal(read_mask(out / "masks" / path.name), labels_of(name, path))
    before = {path: path.stat().st_mtime_ns for path in out.glob("masks/*")}
    assert dinoiser(*arguments)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_it_is_compared_with_others(name, folder, dinoiser, tmp_path):
    drawing = tmp_path / "comparison.png"
    arguments = ("-m", f"{name},maskclip-tiny", "-p", WORDS, "-d", "cpu", "-o", drawing, "--json")
    code, out, err = dinoiser("compare", folder / "0.png", *arguments)
    assert code == 0, err
    one, other = (labels_of(model, folder / "0.png") for model in (name, "maskclip-tiny"))
    assert json.loads(out)["agreement"] == pytest.approx(float((one == other).mean()))
    assert drawing.is_file()


@pytest.mark.slow
def test_all_models_are_compared_on_one_scene(scene, dinoiser, tmp_path, monkeypatch):
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path / "cache"))
    names = [*put_all(tmp_path, monkeypatch), "tiny", "maskclip-tiny", "tiny:pooling=clip-keys"]
    assert {info.name for info in list_models()} < set(names)
    image, drawing = tmp_path / "scene.png", tmp_path / "comparison.png"
    Image.fromarray(scene.image).save(image)
    arguments = ("-m", ",".join(names), "-p", WORDS, "-d", "cpu", "-o", drawing, "--json")
    code, out, err = dinoiser("compare", image, *arguments)
    assert code == 0, err
    pairs = [set(pair["models"]) for pair in json.loads(out)["images"][0]["pairs"]]
    assert len(pairs) == len(names) * (len(names) - 1) / 2
    assert set.union(*pairs) == set(names)
    with Image.open(drawing) as drawn:
        lines = -(-(len(names) + 2) // 5)  # with the image and the disagreement
        panel = PANEL_WIDTH * scene.image.shape[0] / scene.image.shape[1]
        assert drawn.width == 5 * (PANEL_WIDTH + MARGIN) + MARGIN
        assert lines * panel < drawn.height < (lines + 1) * panel


def test_it_is_evaluated_by_its_own_protocol(name, folder, dinoiser, tmp_path):
    entry, benchmark = find_model(name), find_benchmark("voc")
    image = read_image(folder / "0.png")
    root = tmp_path / "data"
    write_benchmark("voc", root, [(image, np.zeros(image.shape[:2], np.uint8))])
    [pair] = benchmark.find_pairs(root)
    model = load_model(name, device="cpu", precision="fp32")
    window = 1536 if name == "naclip" else None  # which was published with one pass over VOC
    segmenter = Segmenter(model, refine="none", antialias=entry.windows.cubic, window=window)
    predicted = segmenter.segment(read_image(pair.image), benchmark.prompts(entry.method)).labels
    write_benchmark("voc", root, [(image, predicted)])
    arguments = ("--root", root, "-m", name, "-d", "cpu", "-o", tmp_path / "out", "--json")
    code, out, err = dinoiser("evaluate", "voc", *arguments)
    assert code == 0, err
    document = json.loads(out)
    assert document["miou"] == 1
    assert len([iou for iou in document["per_class"].values() if iou]) > 1
