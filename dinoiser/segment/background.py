"""Find background: patches that do not look like an object, or resemble none of the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

CLEANING = 0.2
"""Share of the class token's attention, Talk2DINO's lambda."""


def apply_background(probabilities: Tensor, foreground: Tensor, delta: float = 0.99) -> Tensor:
    """Assign patches to the background that are both uncertain and not objects.

    If the highest probability is below `delta` and the objectness is not above
    one half, channel 0 becomes 1. Other channels are unchanged, so a patch's sum
    can exceed 1 (section 3.5 of CLIP-DINOiser; the values are those of the
    published code, whose own step is wrong for batches larger than 1).

    Parameters
    ----------
    probabilities
        (B, K, h, w) in [0, 1]; channel 0 is the background.
    foreground
        (B, h, w) objectness logits; one half is a logit of 0.
    delta
        Patches with at least this probability are left unchanged; 1 leaves none.

    Returns
    -------
    Tensor
        (B, K, h, w), a new tensor.
    """
    unsure = probabilities.amax(1) < (delta if delta < 1 else torch.inf)
    background = unsure & (foreground <= 0)
    filtered = probabilities.clone()
    filtered[:, 0].masked_fill_(background, 1.0)
    return filtered


def prepend_background(probabilities: Tensor, background: float | Tensor) -> Tensor:
    """Prepend a background to the classes (B, K, h, w).

    Its probability is the same everywhere, or (B, 1, h, w).
    """
    if not isinstance(background, torch.Tensor):
        background = torch.full_like(probabilities[:, :1], background)
    return torch.cat([background, probabilities], 1)


def clean_background(probabilities: Tensor, attention: Tensor, relevance: Tensor) -> Tensor:
    """Raise classes where those heads of the class token attend that resemble them.

    Parameters
    ----------
    probabilities
        (B, K, h, w), without the background.
    attention
        (B, heads, h, w), logits of the class token's attention to patches.
    relevance
        (B, K, heads), cosines between classes and what the heads attend to.

    Returns
    -------
    Tensor
        (B, K, h, w), within the range of `probabilities`.

    References
    ----------
    Barsellotti et al., Talking to DINO: Bridging Self-Supervised Vision
    Backbones with Language for Open-Vocabulary Segmentation, ICCV 2025; the
    steps and their order are those of the published code.
    """
    everything = (1, 2, 3)  # all but the batch axis
    # per class, the mean of the heads' attention logits, weighted by how relevant the heads are
    weights = relevance.softmax(-1)
    logits = torch.einsum("bkn,bnhw->bkhw", weights, attention.float())
    # distributions over patches, shifted to begin at 0 and divided by their maximum before that
    maps = logits.flatten(2).softmax(-1).view_as(logits)
    maps = (maps - maps.amin(everything, keepdim=True)) / maps.amax(everything, keepdim=True)
    # the maps, scaled to the range of the probabilities, get a share of 0.2 / 1.2
    low = probabilities.amin(everything, keepdim=True)
    high = probabilities.amax(everything, keepdim=True)
    return (probabilities + CLEANING * (low + maps * (high - low))) / (1 + CLEANING)
