"""The image tower against open_clip's bare visual forward: python -m benchmarks.forward.

Dense features, correlations, pooling and objectness should take no longer than
the plain image embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from benchmarks.setting import compare, describe_machine, random_model
from dinoiser.models.maskclip import position_table

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.models.clip_dinoiser import ClipDinoiser
    from dinoiser.models.maskclip import MaskClip

SIDE = 448


def compare_forward(
    model: ClipDinoiser,
    bare: nn.Module,
    batch: int,
    *,
    pairs: int = 9,
    compiled_by: str | None = None,
) -> float:
    """Print and return the ratio of `encode_image` to open_clip's visual forward.

    Parameters
    ----------
    model, bare
        Both towers.
    batch, pairs
        Number of windows, and how often both are timed.
    compiled_by
        A backend of `torch.compile` for both; None for neither.
    """
    encode, forward = model.encode_image, bare.__call__
    if compiled_by is not None:
        encode, forward = (torch.compile(one, backend=compiled_by) for one in (encode, forward))
    pixels = torch.rand(batch, 3, SIDE, SIDE, device=model.device)
    half = pixels.to(model.dtype)

    def finished(features: Tensor) -> float:
        return features.flatten()[0].item()  # waits for a device

    with torch.no_grad():
        return compare(
            f"{model.dtype}, batch {batch}, compiled by {compiled_by}: CLIP-DINOiser / open_clip",
            lambda: finished(encode(pixels).features),
            lambda: finished(forward(half)),
            pairs,
        )


def bare_tower(model: MaskClip) -> nn.Module:
    """Make open_clip's image tower with the weights of a model, for windows of the model's size."""
    visual = model.visual
    blocks, width = visual.transformer.resblocks, visual.conv1.out_channels
    bare = VisionTransformer(
        image_size=visual.grid_size[0] * model.patch_size,
        patch_size=model.patch_size,
        width=width,
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        mlp_ratio=blocks[0].mlp.c_fc.out_features / width,
        output_dim=visual.output_dim,
        act_layer=type(blocks[0].mlp.gelu),
    )
    bare.load_state_dict(visual.state_dict())
    grid = (model.windows.window // model.patch_size,) * 2
    table = position_table(bare.positional_embedding, bare.grid_size, grid)
    bare.positional_embedding = nn.Parameter(table)
    return bare.to(model.device, model.dtype).eval().requires_grad_(False)


def main() -> None:
    """Print the ratios for batches of 1 and 4, by dtype."""
    describe_machine()
    for dtype in (torch.float32, torch.bfloat16):
        model = random_model(dtype)
        bare = bare_tower(model)
        for batch in (1, 4):
            compare_forward(model, bare, batch)


if __name__ == "__main__":
    main()
