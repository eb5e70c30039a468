"""DINO's features: the published code's numbers, and what is refused."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, ModelError
from dinoiser.models.teachers.dino import Dino, scaled_position_table
from tests.helpers.teacher_goldens import CASES, HEADS, close, golden, teacher_weights


@pytest.fixture(scope="module")
def weights():
    return teacher_weights("dino_p16.")


@pytest.fixture(scope="module")
def dino(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("dino") / "dino.safetensors"
    save_file(weights, path)
    return Dino.load(path, HEADS)


@CASES
def test_position_table(weights, case):
    grid = golden()[f"{case}_dino_corrs_raw"].shape[-2:]
    close(scaled_position_table(weights["pos_embed"][0], grid), golden()[f"{case}_dino_pos"][0])


@CASES
def test_values_and_keys(dino, case):
    pixels = torch.from_numpy(golden()[f"{case}_input"])
    _, keys, values = np.split(golden()[f"{case}_dino_qkv_last"][:, 1:], 3, -1)
    close(dino.values(pixels).flatten(2).transpose(1, 2), values)
    close(dino.keys(pixels).flatten(2).transpose(1, 2), keys)


@CASES
def test_correlations(dino, case):
    unit = F.normalize(dino.values(torch.from_numpy(golden()[f"{case}_input"])).flatten(2), dim=1)
    close(unit, golden()[f"{case}_dino_v_normalised"])
    correlations = (unit.transpose(1, 2) @ unit).reshape(golden()[f"{case}_dino_corrs_raw"].shape)
    close(correlations, golden()[f"{case}_dino_corrs_raw"])
    kept = correlations >= 0.2
    np.testing.assert_array_equal(kept, golden()[f"{case}_dino_corrs_thr"] > 0)


def test_a_grid_like_the_table_keeps_it_as_it_is(weights):
    table = weights["pos_embed"][0]
    assert torch.equal(scaled_position_table(table, (14, 14)), table)


def test_the_sizes_of_official_backbones_are_read_off_their_files(tmp_path):
    official = timm.create_model("vit_small_patch8_224.dino", pretrained=False)
    torch.save(official.state_dict(), tmp_path / "backbone.pth")
    dino = Dino.load(tmp_path / "backbone.pth")
    assert (dino.patch_size, dino.vit.embed_dim) == (8, 384)
    assert dino.vit.blocks[0].attn.num_heads == 6
    pixels = torch.rand(1, 3, 224, 224)
    expected = {}
    official.eval().blocks[-1].attn.qkv.register_forward_hook(
        lambda _module, _given, output: expected.update(qkv=output)
    )
    with torch.no_grad():
        official((pixels - dino._mean) / dino._std)
    close(
        dino.values(pixels).flatten(2).transpose(1, 2),
        expected["qkv"].chunk(3, -1)[2][:, 1:].numpy(),
    )


def test_other_files_and_other_networks_are_refused(tmp_path, make_clip):
    path = tmp_path / "clip.safetensors"
    save_file({"visual.conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(
        CheckpointError, match=r"does not contain a vision transformer of DINO.*visual\.conv1"
    ):
        Dino.load(path)
    with pytest.raises(ModelError, match="The teacher is a VisionTransformer, but a timm"):
        Dino(make_clip().visual)
