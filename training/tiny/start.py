"""Initial weights of the backbone, where they differ from open_clip's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from open_clip import CLIP
    from torch import Tensor

POSITION_SCALE = 0.75
SIMILARITY_SCALE = 1.1


def start_weights(clip: CLIP) -> None:
    """Initialise a CLIP with smooth positions, and with attention to similar, near patches.

    Random attention takes long to learn that patches of one object belong
    together. With queries equal to keys, each patch attends to similar ones
    from the first step on.
    """
    visual = clip.visual
    width = visual.conv1.out_channels
    with torch.no_grad():
        clip.logit_scale.fill_(math.log(100))
        clip.logit_scale.requires_grad_(False)
        table = sine_table(visual.grid_size[0], width)
        visual.positional_embedding[1:] = POSITION_SCALE * table
        for block in visual.transformer.resblocks[:-1]:
            heads = block.attn.num_heads
            same = torch.cat([_random_projection(width, width // heads) for _ in range(heads)])
            block.attn.in_proj_weight[: 2 * width] = SIMILARITY_SCALE * torch.cat([same, same])
            block.attn.in_proj_bias[: 2 * width] = 0


def _random_projection(width: int, rows: int) -> Tensor:
    orthogonal, _ = torch.linalg.qr(torch.randn(width, rows))
    return orthogonal.T


def sine_table(side: int, width: int) -> Tensor:
    """Make a (side * side, width) table of sines and cosines of row and column.

    Wavelengths run from 4 to 64 patches, so that the table stays smooth when
    it is resized to other grids.
    """
    wavelengths = torch.logspace(math.log10(4), math.log10(64), width // 4)
    phases = 2 * math.pi * torch.arange(side)[:, None] / wavelengths
    along = torch.cat([phases.sin(), phases.cos()], 1)  # (side, width / 2)
    rows = along[:, None].expand(side, side, -1)
    columns = along[None].expand(side, side, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
