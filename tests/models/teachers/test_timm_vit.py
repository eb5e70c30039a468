"""ViTs by their names in timm: their values, their weights' files, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from dinoiser.errors import CheckpointError, ModelError, UnknownModelError
from dinoiser.models.teachers.timm_vit import TimmVit, find_vit
from tests.helpers.random_timm import save_random

NAMES = {
    "test_vit.r160_in1k": "a position table, a class token, another mean than ImageNet's",
    "vit_small_patch14_reg4_dinov2.lvd142m": "registers",
    "vit_small_patch16_dinov3.lvd1689m": "rotary positions, no biases",
    "deit_tiny_distilled_patch16_224": "two class tokens, ImageNet's classes",
}
"""Networks, and what is particular about them."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", NAMES, ids=NAMES.values())
def test_values_are_those_of_timms_own_forward(name, path):
    theirs = save_random(name, path)
    vit = TimmVit.load(name, path)
    pixels = torch.rand(2, 3, 3 * vit.patch_size, 5 * vit.patch_size)
    seen = []
    theirs.blocks[-1].attn.qkv.register_forward_hook(lambda _module, _given, out: seen.append(out))
    mean, std = (torch.tensor(theirs.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        theirs((pixels - mean) / std)
    expected = seen[0].chunk(3, -1)[2][:, theirs.num_prefix_tokens :]
    values = vit.values(pixels)
    assert values.shape == (2, theirs.embed_dim, 3, 5)
    torch.testing.assert_close(values.flatten(2).mT, expected, atol=1e-4, rtol=0)


def test_a_bias_that_values_have_alone_counts(path):
    """timm joins it to weights that have none only while it computes."""
    name = "vit_small_patch16_dinov3_qkvb"
    theirs = save_random(name, path)
    pixels = torch.rand(1, 3, 32, 48)
    with_bias = TimmVit.load(name, path).values(pixels)
    shift = torch.linspace(-1, 1, theirs.embed_dim)
    theirs.blocks[-1].attn.v_bias.data += shift
    save_file({n: t.contiguous() for n, t in theirs.state_dict().items()}, path)
    shifted = TimmVit.load(name, path).values(pixels)
    expected = (with_bias + shift.view(-1, 1, 1)).expand_as(shifted)
    torch.testing.assert_close(shifted, expected, atol=1e-4, rtol=0)


def test_it_runs_in_bfloat16_and_pads_to_full_patches(path):
    name = "vit_small_patch16_dinov3.lvd1689m"
    save_random(name, path)
    vit = TimmVit.load(name, path).to(torch.device("cpu"), torch.bfloat16)
    values = vit.values(torch.rand(1, 3, 40, 33))
    assert values.dtype == torch.bfloat16
    assert values.shape[-2:] == (3, 3)


def test_a_name_finds_its_file_on_the_hub():
    file = find_vit("vit_small_patch14_dinov2.lvd142m")
    assert file.repo == "timm/vit_small_patch14_dinov2.lvd142m"
    assert 80e6 < file.approximate_size < 95e6
    assert find_vit("vit_small_patch14_dinov2") == file  # timm's own choice of weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dino", "timm has no weights named 'dino'"),
        ("vit_base_patch16_224.dinos", r"did you mean 'vit_base_patch16_224\.dino'"),
        ("vit_base_patch16_224.", "timm has no weights"),
    ],
)
def test_an_unknown_name_is_said(name, message):
    with pytest.raises(UnknownModelError, match=message):
        find_vit(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50.a1_in1k", "not a plain ViT: choose one such as vit_small"),
        ("swin_tiny_patch4_window7_224", "not a plain ViT"),
        ("eva02_base_patch14_224.mim_in22k", "compute queries, keys and values together"),
    ],
)
def test_only_plain_vits_are_taken(name, message):
    with pytest.raises(ModelError, match=message):
        find_vit(name)


def test_the_weights_of_another_network_are_refused(path):
    save_random("test_vit.r160_in1k", path)
    with pytest.raises(CheckpointError, match=r"does not contain the weights of test_vit3"):
        TimmVit.load("test_vit3.r160_in1k", path)


def test_an_incomplete_file_is_refused(path):
    """timm itself would leave random weights in the place of missing ones."""
    theirs = save_random("deit_tiny_distilled_patch16_224", path)
    tensors = {n: t.contiguous() for n, t in theirs.state_dict().items()}
    del tensors["blocks.3.norm1.weight"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"blocks\.3\.norm1\.weight"):
        TimmVit.load("deit_tiny_distilled_patch16_224", path)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="fetch it again"):
        TimmVit.load("deit_tiny_distilled_patch16_224", path)
