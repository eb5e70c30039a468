"""Objects without any training: patches that are unlike the commonest patch of their image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

LIKE = 0.3
"""Cosine from which a patch belongs to the ground, as in FOUND."""


def differs_from_ground(keys: Tensor) -> Tensor:
    """Find objects: all that is not ground.

    This is FOUND's first step with another seed. FOUND starts from the patch that the class token
    attends to least. The attention of a small ViT does not tell, so here it is the patch with the
    largest sum of positive cosines to all others: grounds are large, objects are small.

    Parameters
    ----------
    keys
        (B, C, h, w), of a ViT; their mean over many images should be near zero.

    Returns
    -------
    Tensor
        (B, h, w), bool.
    """
    unit = F.normalize(keys.flatten(2).float(), dim=1)
    cosines = unit.transpose(1, 2) @ unit  # (B, N, N)
    seeds = cosines.clamp(min=0).sum(-1).argmax(-1)
    to_seed = cosines[torch.arange(len(seeds)), seeds]
    return (to_seed < LIKE).unflatten(1, keys.shape[2:])
