"""Guided pooling: patch features averaged over the patches that correlate with them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CORRELATIONS_AT_ONCE = 2**22
"""Correlations in memory at a time, 16 MB in float32: memory grows with N, not with N x N."""


def pool_by_correlation(features: Tensor, embeddings: Tensor, gamma: float = 0.2) -> Tensor:
    """Pool features over correlated patches, equation (1) of CLIP-DINOiser.

    Each patch becomes the mean of all patches' features, weighted by the
    cosine between the two patches' embeddings. Cosines below `gamma` count as
    0.

    Parameters
    ----------
    features
        (B, D, h, w), not normalised.
    embeddings
        (B, P, h, w), compared by their cosines; of any length.
    gamma
        Threshold of the correlations; `gamma` itself is kept.

    Returns
    -------
    Tensor
        (B, D, h, w), the pooled features.

    Notes
    -----
    The denominator is the sum of the weights + 1e-6, as in the published
    code.
    """
    return pool_by_product(features, F.normalize(embeddings, dim=1), gamma)


def pool_by_product(features: Tensor, embeddings: Tensor, gamma: float) -> Tensor:
    """Pool features (B, D, h, w) with the products of embeddings (B, P, h, w) as weights.

    It is `pool_by_correlation` for embeddings that are normalised already, in
    whatever way. The (N, N) matrix of products, N = h * w, is computed and used
    a few rows at a time.
    """
    height, width = features.shape[-2:]
    values = features.flatten(2).transpose(1, 2)  # (B, N, D)
    given = embeddings.flatten(2)  # (B, P, N)
    batch, patches, _ = values.shape
    # a few rows of the matrix at a time: (B, n, P) @ (B, P, N) = (B, n, N)
    rows = max(1, CORRELATIONS_AT_ONCE // (batch * patches))
    pooled = [
        _weighted_mean(some.transpose(1, 2) @ given, values, gamma)
        for some in given.split(rows, -1)
    ]
    # (B, N, D) -> (B, D, N) -> (B, D, h, w)
    return torch.cat(pooled, 1).transpose(1, 2).unflatten(2, (height, width))


def _weighted_mean(correlations: Tensor, values: Tensor, gamma: float) -> Tensor:
    """Mean (B, n, D) of values (B, N, D), weighted by correlations (B, n, N), changed in place."""
    weights = correlations.masked_fill_(correlations < gamma, 0.0)
    return weights @ values / (weights.sum(-1, keepdim=True) + 1e-6)
