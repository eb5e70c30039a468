"""dino.txt's files as its authors publish them, with the goldens' small weights."""

import torch

from tests.helpers.places import GOLDENS

FOLDER = GOLDENS / "dinotxt"
HEAD_WIDTH = 16
"""Of the goldens' models; published ones have 64."""
BACKBONES = {"dinov2": "visual_model.backbone.model.", "dinov3": "visual_model.backbone."}


def part(tensors, prefix):
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def write_official(tensors, version, folder):
    """Write files as the authors publish them: two for DINOv2's towers, one for DINOv3's."""
    backbone = part(tensors, BACKBONES[version])
    width = backbone["cls_token"].shape[-1]
    torch.save({**backbone, "mask_token": torch.zeros(1, width)}, folder / "dino.pth")
    paths = {"dino": folder / "dino.pth"}
    if version == "dinov2":
        parts = {
            "vision_head": part(tensors, "visual_model.head."),
            "text_encoder": part(tensors, "text_model."),
        }
    else:
        rest = {n: t for n, t in tensors.items() if not n.startswith(BACKBONES[version])}
        parts = {"head_and_text": rest}
    for name, some in parts.items():
        torch.save(some, folder / f"{name}.pth")
        paths[name] = folder / f"{name}.pth"
    return paths
