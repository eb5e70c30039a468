"""What the heads of the tiny model are trained for, with the scenes' exact masks as teacher."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .patches import PATCH

WINDOW = 14
TRAINING_GAMMA = 0.4
"""Threshold of the correlations while training, a little below the catalogue's at inference.

Pairs of unseen scenes come out a little more alike than those trained on, and
have to stay below the threshold all the same.
"""
TEMPERATURE = 100.0
LEAK_SOFTNESS = 0.05


class Windows(NamedTuple):
    """A square window of patches in each of B scenes: only those are pooled in a step.

    Attributes
    ----------
    rows
        (B, WINDOW ** 2), int64: the window's patches, row-major.
    labels
        (B, side, side), int64: the window's pixels.
    weights
        (B, side, side): what a pixel counts.
    """

    rows: Tensor
    labels: Tensor
    weights: Tensor


def draw_windows(classes: Tensor, labels: Tensor, random: torch.Generator) -> Windows:
    """Draw windows around objects, all objects alike whatever their size.

    Parameters
    ----------
    classes
        (B, h, w), majority class of each patch.
    labels
        (B, H, W), the same of each pixel.
    random
        Source of randomness.
    """
    _, height, width = classes.shape
    drawn = [_draw_window(c, p, random) for c, p in zip(classes, labels.long(), strict=True)]
    patches = torch.arange(height * width).view(height, width)
    rows = [patches[top : top + WINDOW, left : left + WINDOW] for top, left, _, _ in drawn]
    pixels, weights = zip(*(d[2:] for d in drawn), strict=True)
    return Windows(torch.stack(rows).flatten(1), torch.stack(pixels), torch.stack(weights))


def _draw_window(
    classes: Tensor, labels: Tensor, random: torch.Generator
) -> tuple[int, int, Tensor, Tensor]:
    """Top and left in patches, labels and weights of the pixels."""
    areas = classes.flatten().bincount().float().clamp(min=1)
    chances = areas.reciprocal()[classes] * (classes > 0) + 1e-6
    centre = int(torch.multinomial(chances.flatten(), 1, generator=random))
    offset = int(torch.randint(WINDOW // 4, 3 * WINDOW // 4, (1,), generator=random))
    top = min(max(centre // classes.shape[1] - offset, 0), classes.shape[0] - WINDOW)
    left = min(max(centre % classes.shape[1] - offset, 0), classes.shape[1] - WINDOW)
    side = PATCH * WINDOW
    window = labels[PATCH * top :, PATCH * left :][:side, :side]
    weights = labels.flatten().bincount().float().clamp(min=1).rsqrt()[window]
    # A background pixel taken for an object spoils its mask as much as a lost object pixel.
    return top, left, window, torch.where(window > 0, weights, weights.max())


def correlations(embeddings: Tensor, rows: Tensor) -> Tensor:
    """Cosines (B, R, N) between some and all patches of embeddings (B, P, h, w)."""
    unit = F.normalize(embeddings.flatten(2), dim=1)
    some = unit.gather(2, rows[:, None].expand(-1, unit.shape[1], -1))
    with torch.autocast("cpu", torch.bfloat16):
        return (some.transpose(1, 2) @ unit).float()


def pooled_features(cosines: Tensor, features: Tensor) -> Tensor:
    """(B, R, D), pooled by the formula of inference from features (B, D, h, w)."""
    weights = cosines.masked_fill(cosines < TRAINING_GAMMA, 0)
    with torch.autocast("cpu", torch.bfloat16):
        sums = weights @ features.flatten(2).transpose(1, 2)
    return sums.float() / (weights.sum(-1, keepdim=True) + 1e-6)


def pixel_loss(pooled: Tensor, class_embeddings: Tensor, windows: Windows) -> Tensor:
    """How wrong the windows' pixels are, after scoring and enlarging as at inference.

    2 (1 - sqrt(p)) of the right class's probability p: between cross-entropy, which cares most
    for objects that are lost anyway, and the error rate, which has no gradient there.

    Parameters
    ----------
    pooled
        (B, WINDOW ** 2, D).
    class_embeddings
        (B, K, D); rows of zeros stand for no class.
    windows
        The B windows.
    """
    logits = TEMPERATURE * F.normalize(pooled, dim=-1) @ class_embeddings.transpose(1, 2)
    no_class = (class_embeddings == 0).all(-1)[:, None]
    probabilities = logits.masked_fill(no_class, -1e4).softmax(-1).transpose(1, 2)
    maps = probabilities.unflatten(2, (WINDOW, WINDOW))
    large = F.interpolate(maps, windows.labels.shape[1:], mode="bilinear", align_corners=False)
    right = large.gather(1, windows.labels[:, None])[:, 0]
    return _mean(2 * (1 - right.clamp(min=1e-6).sqrt()), windows.weights)


def leak_loss(cosines: Tensor, classes: Tensor, share: Tensor, rows: Tensor) -> Tensor:
    """Share of the pooling's weight that falls on other classes, as -log(1 - share).

    The threshold is softened, so that pairs just below it are pushed away as well.

    Parameters
    ----------
    cosines
        (B, R, N).
    classes, share
        (B, h, w), majority class of each patch and its share of the patch.
    rows
        (B, R), which patches are pooled.
    """
    weights = cosines.clamp(min=0) * torch.sigmoid((cosines - TRAINING_GAMMA) / LEAK_SOFTNESS)
    classes = classes.flatten(1)
    own = classes.gather(1, rows)
    same = own[:, :, None] == classes[:, None]
    inside = (weights * same).sum(-1) / (weights.sum(-1) + 1e-6)
    certainty = ((share.flatten(1).gather(1, rows) - 0.5) / 0.2).clamp(0, 1)
    sizes = F.one_hot(classes).sum(1).gather(1, own)
    return _mean(-(inside + 1e-6).log(), certainty * sizes.float().rsqrt())


def background_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Binary cross-entropy of the objectness, objects and background counting alike."""
    objects = (classes > 0).float()
    losses = F.binary_cross_entropy_with_logits(logits, objects, reduction="none")
    return (_mean(losses, objects) + _mean(losses, 1 - objects)) / 2


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)
