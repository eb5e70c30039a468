"""A small Talk2DINO of random weights, its projection named as its authors name it."""

import torch

from dinoiser.models.dino_registers import RegisterDino, build_register_vit
from dinoiser.models.talk2dino import Talk2Dino, TextProjection


def official_projection():
    """The tensors of a small projection."""
    torch.manual_seed(6)
    return TextProjection(24, 64).state_dict()


def small_talk2dino(clip, dino, threshold=0.55):
    """The model of a CLIP and a backbone's official tensors, on the CLIP's device."""
    projection = TextProjection(24, 64)
    projection.load_state_dict(official_projection())
    scale = clip.logit_scale
    backbone = RegisterDino(build_register_vit(dino)).to(scale.device, scale.dtype)
    return Talk2Dino(clip, backbone, projection, threshold)
