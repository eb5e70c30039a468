"""What the heads of the tiny model are trained for, with the scenes' exact masks as teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from .patches import ScenePatches

TRAINING_GAMMA = 0.1
"""Threshold of the correlations while training, well below the catalogue's at inference.

Pairs of unseen scenes come out more alike than those trained on, and have to
stay below the threshold all the same.
"""
TEMPERATURE = 100.0
LEAK_SOFTNESS = 0.05


def draw_queries(classes: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Draw the patches to pool in a step, all segments alike whatever their size.

    Patches beside a small segment are drawn as often as its own.

    Parameters
    ----------
    classes
        (B, h, w), majority class of each patch.
    count
        Number of queries Q.
    random
        Source of randomness.

    Returns
    -------
    Tensor
        (B, Q), int64, row-major indices, each at most once.
    """
    rarity = _segment_sizes(classes).reciprocal()
    beside = F.max_pool2d(rarity[:, None], 3, stride=1, padding=1)
    return torch.multinomial(beside.flatten(1), count, generator=random)


def _segment_sizes(classes: Tensor) -> Tensor:
    """(B, h, w), float32: of how many patches each patch's class has the majority."""
    flat = classes.flatten(1)
    return F.one_hot(flat).sum(1).gather(1, flat).float().view_as(classes)


def certainty(scenes: ScenePatches, queries: Tensor) -> Tensor:
    """Return what the queries count (B, Q): 0 up to half a patch of one class, 1 from 70 % on."""
    return ((_of(scenes.share, queries) - 0.5) / 0.2).clamp(0, 1)


def correlations(embeddings: Tensor, queries: Tensor) -> Tensor:
    """Cosines (B, Q, N) between the queries and all patches of embeddings (B, P, h, w)."""
    unit = F.normalize(embeddings.flatten(2), dim=1)
    some = unit.gather(2, queries[:, None].expand(-1, unit.shape[1], -1))
    with torch.autocast("cpu", torch.bfloat16):
        return (some.transpose(1, 2) @ unit).float()


def pooled_features(cosines: Tensor, features: Tensor) -> Tensor:
    """(B, Q, D), pooled by the formula of inference from features (B, D, h, w)."""
    weights = cosines.masked_fill(cosines < TRAINING_GAMMA, 0)
    with torch.autocast("cpu", torch.bfloat16):
        sums = weights @ features.flatten(2).transpose(1, 2)
    return sums.float() / (weights.sum(-1, keepdim=True) + 1e-6)


def pooling_loss(pooled: Tensor, scenes: ScenePatches, queries: Tensor) -> Tensor:
    """Cross-entropy of the pooled patches (B, Q, D) against their majority class."""
    texts = scenes.class_embeddings
    logits = TEMPERATURE * F.normalize(pooled, dim=-1) @ texts.transpose(1, 2)
    no_class = (texts == 0).all(-1)[:, None]
    logits = logits.masked_fill(no_class, -1e4)
    targets = _of(scenes.classes, queries)
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return _mean(losses, certainty(scenes, queries))


def leak_loss(cosines: Tensor, scenes: ScenePatches, queries: Tensor) -> Tensor:
    """Share of the pooling's weight that falls on other classes, as -log(1 - share).

    The threshold is softened, so that pairs just below it are pushed away as well.

    Parameters
    ----------
    cosines
        (B, Q, N).
    scenes
        The B scenes.
    queries
        (B, Q), which patches are pooled.
    """
    weights = cosines.clamp(min=0) * torch.sigmoid((cosines - TRAINING_GAMMA) / LEAK_SOFTNESS)
    same = _of(scenes.classes, queries)[:, :, None] == scenes.classes.flatten(1)[:, None]
    inside = (weights * same).sum(-1) / (weights.sum(-1) + 1e-6)
    return _mean(-(inside + 1e-6).log(), certainty(scenes, queries))


def background_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Binary cross-entropy of the objectness, objects and background counting alike."""
    objects = (classes > 0).float()
    losses = F.binary_cross_entropy_with_logits(logits, objects, reduction="none")
    return (_mean(losses, objects) + _mean(losses, 1 - objects)) / 2


def _of(patches: Tensor, queries: Tensor) -> Tensor:
    return patches.flatten(1).gather(1, queries)


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)
