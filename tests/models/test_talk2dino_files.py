"""Talk2DINO's files, as they are published and as the catalogue finds them."""

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dinoiser.errors import CheckpointError, WeightsError
from dinoiser.evaluation.benchmark_run import BenchmarkJob, evaluate
from dinoiser.evaluation.benchmarks import find_benchmark
from dinoiser.images import read_image
from dinoiser.models import load
from dinoiser.models.catalog import find_model, list_models
from dinoiser.models.talk2dino import Talk2Dino, TextProjection
from dinoiser.prompts import PromptSet
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.benchmark_folders import write_benchmark
from tests.helpers.drawn_images import random_squares
from tests.helpers.official_dino import official_dino
from tests.helpers.small_catalogue import put, put_clip
from tests.helpers.small_talk2dino import official_projection, small_talk2dino


class Published(NamedTuple):
    """A catalogued model, whose files are small and random, and the same built by hand."""

    name: str
    built: Talk2Dino


@pytest.fixture(
    params=["talk2dino-vitb", "talk2dino-dinov3-vitb", "talk2dino-dinov3-vitl"],
)
def published(request, make_clip, tmp_path, monkeypatch):
    """Write small files of the published layouts where the catalogue wants them."""
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path / "cache"))
    name = request.param
    entry = find_model(name)
    clip = make_clip(quick_gelu=True)
    dino = official_dino(version=3 if "dinov3" in name else 2, patch_size=entry.patch_size)
    put_clip(entry, clip, monkeypatch)
    put(entry.parts["dino"], dino)
    put(entry.parts["projection"], official_projection())
    return Published(name, small_talk2dino(clip, dino, entry.threshold))


@pytest.mark.parametrize("published", ["talk2dino-vitb"], indirect=True)
@pytest.mark.parametrize("benchmark", ["voc", "context"])
def test_benchmarks_clean_the_background_as_published(published, benchmark, tmp_path):
    """Where it is a class of its own, as in VOC, and not in PASCAL Context."""
    image = random_squares(300, 420)
    root, found = tmp_path / "data", find_benchmark(benchmark)
    write_benchmark(benchmark, root, [(image, np.zeros(image.shape[:2], np.uint8))])
    [pair] = found.find_pairs(root)
    segmenter = Segmenter(published.built, antialias=False, batch_size=1, refine="none")
    encoded = segmenter.encode(read_image(pair.image))
    prompts = PromptSet.from_names(found.classes)
    cleaned = encoded.segment(prompts).labels
    plain = replace(encoded, patches=replace(encoded.patches, guide=None)).segment(prompts).labels
    assert (cleaned != plain).mean() > 0.01
    write_benchmark(benchmark, root, [(image, cleaned if benchmark == "voc" else plain)])
    job = BenchmarkJob(benchmark, root, tmp_path / "out", published.name, "cpu")
    assert evaluate(job).matrix.accuracy() > 0.9999


class TestFiles:
    def test_published_files_give_the_model_that_is_built_by_hand(self, published):
        entry, built = find_model(published.name), published.built
        assert next(model.cached for model in list_models() if model.name == published.name)
        loaded = load.load_model(published.name, device="cpu", precision="fp32")
        pixels = torch.rand(1, 3, 100, 80)
        ours, theirs = loaded.encode_image(pixels), built.encode_image(pixels)
        assert torch.equal(ours.features, theirs.features)
        assert torch.equal(ours.guide, theirs.guide)
        assert torch.equal(loaded.encode_phrase(["a dog"]), built.encode_phrase(["a dog"]))
        assert loaded.scoring == built.scoring
        assert loaded.scoring.background == entry.background == "threshold"

    def test_the_second_layer_had_another_name_once(self, tmp_path):
        tensors = official_projection()
        old = {n.replace("hidden_layers.0", "linear_layer2"): t for n, t in tensors.items()}
        torch.save(old, tmp_path / "old.pth")
        loaded = TextProjection.load(tmp_path / "old.pth").state_dict()
        assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)

    @pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
    def test_what_differs_is_listed(self, change, tmp_path):
        tensors = dict(official_projection())
        if change == "missing":
            del tensors["hidden_layers.0.bias"]
        elif change == "unexpected":
            tensors["hidden_layers.1.weight"] = torch.zeros(1)
        else:
            tensors["linear_layer.bias"] = torch.zeros(3)
        torch.save(tensors, tmp_path / "projection.pth")
        expected = {
            "missing": "hidden_layers.0.bias is missing",
            "unexpected": "hidden_layers.1.weight is unexpected",
            "shape": "linear_layer.bias: (3,) != (64,)",
        }[change]
        with pytest.raises(CheckpointError, match=re.escape(expected)):
            TextProjection.load(tmp_path / "projection.pth")

    def test_another_file_is_no_projection(self, tmp_path):
        torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match="does not contain Talk2DINO's projection"):
            TextProjection.load(tmp_path / "other.pth")

    def test_a_projection_for_the_larger_model_is_refused(self, make_clip):
        model = small_talk2dino(make_clip(), official_dino())
        with pytest.raises(CheckpointError, match="patches with 96 channels, but this DINO has 64"):
            Talk2Dino(model.text.clip, model.dino, TextProjection(24, 96))

    def test_the_projection_is_fetched_by_hand(self, tmp_path, monkeypatch):
        monkeypatch.setenv("DINOISER_CACHE", str(tmp_path))
        with pytest.raises(WeightsError) as caught:  # and not the 900 MB that could be downloaded
            load.load_model("talk2dino-vitb", device="cpu")
        message = str(caught.value)
        assert "state no licence" in message
        assert "https://github.com/lorebianchi98/Talk2DINO" in message
        assert str(tmp_path / "vitb_mlp_infonce.pth") in message
        assert find_model("talk2dino-vitb").licence.startswith("none stated")
