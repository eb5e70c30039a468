"""The recipe of the embedded model's heads: what it writes, and what is shipped."""

import json
from dataclasses import replace

import pytest
import torch
from dinoiser_training.settings import FitSettings
from dinoiser_training.tiny import heads as recipe
from safetensors.torch import load_file, save_file

from dinoiser.errors import CheckpointError
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.load import load_model
from dinoiser.weights.checkpoint import read_metadata

QUICK = replace(recipe.SETTINGS, steps=2, batch_size=2, sample=8, projection_dim=8)


@pytest.fixture(scope="module")
def shipped():
    backbone, heads = recipe.shipped_files()
    return {"backbone": backbone, "heads": heads}


@pytest.mark.slow
def test_the_same_command_makes_the_same_file_byte_for_byte(shipped, tmp_path):
    paths = [tmp_path / name for name in ("first.safetensors", "second.safetensors")]
    for path in paths:
        recipe.make_heads(shipped["backbone"], path, QUICK)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.slow
def test_the_model_takes_the_heads_with_their_threshold(shipped, tmp_path):
    path = tmp_path / "heads.safetensors"
    recipe.make_heads(shipped["backbone"], path, replace(QUICK, gamma=0.625))
    model = load_model("tiny", device="cpu", precision="fp32", heads=path)
    assert torch.equal(model.heads.obj_proj.weight, DinoiserHeads.load(path).obj_proj.weight)
    assert model.gamma == 0.625


@pytest.mark.slow
def test_heads_of_another_backbone_are_refused(shipped, tmp_path):
    tensors = load_file(shipped["backbone"])
    other, path = tmp_path / "ViT-other.safetensors", tmp_path / "heads.safetensors"
    save_file({**tensors, "visual.proj": 2 * tensors["visual.proj"]}, other)
    recipe.make_heads(other, path, QUICK)
    with pytest.raises(CheckpointError, match=r"CLIP differs from that of 'tiny'"):
        load_model("tiny", device="cpu", heads=path)


def test_the_shipped_heads_are_those_of_the_recipe(shipped, tiny):
    made_of = read_metadata(shipped["heads"])
    expected = recipe.describe(shipped["backbone"], recipe.SETTINGS)
    del expected["settings"]
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in expected.items()}
    assert {name: made_of[name] for name in texts} == texts
    # settings that are newer than the file had their defaults
    assert FitSettings(**json.loads(made_of["settings"])) == recipe.SETTINGS
    assert tiny.gamma == recipe.SETTINGS.gamma
