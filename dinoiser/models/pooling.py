"""Guided pooling: patch features averaged over the patches that correlate with them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CORRELATIONS_AT_ONCE = 2**22
"""Correlations held at a time: 16 MB of float32, so that memory grows with N and not with N x N."""


def pool_by_correlation(features: Tensor, embeddings: Tensor, gamma: float = 0.2) -> Tensor:
    """Pool features over correlated patches, equation (1) of CLIP-DINOiser.

    Every patch becomes the mean of all patches' features, weighted by the
    cosine between the two patches' embeddings; cosines below `gamma` count
    as 0.

    Parameters
    ----------
    features
        (B, D, h, w), not normalised.
    embeddings
        (B, P, h, w), the space in which patches are compared; any length.
    gamma
        Threshold of the correlations; `gamma` itself is kept.

    Returns
    -------
    Tensor
        (B, D, h, w), the pooled features.

    Notes
    -----
    The denominator is the sum of the weights + 1e-6, as in the published
    code. Rows of the (N, N) correlation matrix, N = h * w, are made and used
    up a few at a time.
    """
    height, width = features.shape[-2:]
    values = features.flatten(2).transpose(1, 2)  # (B, N, D)
    unit = F.normalize(embeddings.flatten(2), dim=1)  # (B, P, N)
    batch, patches, _ = values.shape
    rows = max(1, CORRELATIONS_AT_ONCE // (batch * patches))
    pooled = [
        _weighted_mean(some.transpose(1, 2) @ unit, values, gamma) for some in unit.split(rows, -1)
    ]
    return torch.cat(pooled, 1).transpose(1, 2).unflatten(2, (height, width))


def _weighted_mean(correlations: Tensor, values: Tensor, gamma: float) -> Tensor:
    """Mean of values (B, N, D) under correlations (B, n, N), which are thresholded in place."""
    weights = correlations.masked_fill_(correlations < gamma, 0.0)
    return weights @ values / (weights.sum(-1, keepdim=True) + 1e-6)
