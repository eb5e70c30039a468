"""Objects without any training: patches that are unlike the commonest patch of their image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.models.teachers.dino import Dino

LIKE = 0.3
"""Cosine from which a patch belongs to the ground, as in FOUND."""


class Ground:
    """Objectness from a ViT's keys: everything that is not ground.

    FOUND's first step with another seed. FOUND starts from the patch that the class token attends
    to least. The attention of a small ViT does not tell, so here it is the patch with the largest
    sum of positive cosines to all others: grounds are large, objects are small.

    Parameters
    ----------
    dino
        Source of keys. Their mean over many images should be near zero.
    """

    def __init__(self, dino: Dino) -> None:
        self.dino = dino

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the weights."""
        self.dino.to(device, dtype)
        return self

    def mask(self, pixels: Tensor) -> Tensor:
        """Objects (B, h, w), bool, on the ViT's grid; pixels (B, 3, H, W), RGB, in [0, 1]."""
        keys = self.dino.keys(pixels).float()
        unit = F.normalize(keys.flatten(2), dim=1)
        cosines = unit.transpose(1, 2) @ unit  # (B, N, N)
        seeds = cosines.clamp(min=0).sum(-1).argmax(-1)
        to_seed = cosines[torch.arange(len(seeds)), seeds]
        return (to_seed < LIKE).unflatten(1, keys.shape[2:])

    def patch_probabilities(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Probabilities (B, h, w) on the grid (h, w) of another model, above 0.5 means object."""
        mask = self.mask(pixels)[:, None].float()
        return F.interpolate(mask, grid, mode="bilinear", align_corners=False)[:, 0]
