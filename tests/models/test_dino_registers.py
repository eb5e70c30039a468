"""DINOv2 and DINOv3 with registers: timm's networks, whatever names a file has."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch.nn import functional as F

from dinoiser.models.dino_registers import RegisterDino, build_register_vit
from dinoiser.models.teachers.dino import IMAGENET_MEAN, IMAGENET_STD
from tests.helpers.official_dino import official_dino


def test_dinov2_is_what_timm_makes_of_the_same_file():
    tensors = official_dino()
    vit = VisionTransformer(
        img_size=70,
        patch_size=14,
        embed_dim=64,
        depth=2,
        num_heads=1,
        init_values=1e-5,
        reg_tokens=4,
        no_embed_class=True,
        num_classes=0,
        dynamic_img_size=True,
    ).eval()
    vit.load_state_dict(checkpoint_filter_fn(dict(tensors), vit), strict=True)
    pixels = torch.rand(2, 3, 56, 98)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = vit.forward_features((pixels - mean) / std)
    seen = RegisterDino(build_register_vit(tensors)).encode(pixels)
    assert seen.grid == (4, 7)
    torch.testing.assert_close(seen.tokens, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("version", [2, 3])
def test_attention_is_the_class_tokens_in_the_last_block(version):
    """Logits come from the last block's input by its own projection, without rotation."""
    dino = RegisterDino(build_register_vit(official_dino(version=version, patch_size=16)))
    seen = {}
    last = dino.vit.blocks[-1]
    hook = last.norm1.register_forward_hook(lambda *args: seen.update(given=args[2]))
    attention = dino.encode(torch.rand(1, 3, 32, 48)).attention
    hook.remove()
    tensors = official_dino(version=version, patch_size=16)
    bias = tensors["blocks.1.attn.qkv.bias"].clone()
    if version == 3:
        bias *= tensors["blocks.1.attn.qkv.bias_mask"]
    qkv = F.linear(seen["given"], tensors["blocks.1.attn.qkv.weight"], bias)
    heads = 2 if version == 3 else 1  # DINOv3's periods tell 32 channels a head
    query, key, _ = qkv.unflatten(-1, (3, heads, -1)).unbind(2)
    expected = torch.einsum("bhd,bnhd->bhn", query[:, 0], key[:, 5:]) * (64 // heads) ** -0.5
    torch.testing.assert_close(attention.flatten(2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit_base_patch14_reg4_dinov2", "vit_base_patch16_dinov3"])
def test_timms_own_files_fit_too(name):
    sizes = {"depth": 2, "embed_dim": 128, "num_heads": 2, "num_classes": 0, "img_size": 560}
    vit = timm.create_model(name, pretrained=False, **sizes).eval()
    dino = RegisterDino(build_register_vit(vit.state_dict()))
    pixels = torch.rand(1, 3, 560, 560)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = vit.forward_features((pixels - mean) / std)
    torch.testing.assert_close(dino.encode(pixels).tokens, expected, atol=1e-5, rtol=0)
