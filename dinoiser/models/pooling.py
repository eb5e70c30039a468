"""Guided pooling: patches averaged over the patches that are like them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CORRELATIONS_AT_ONCE = 2**22
"""Correlations in memory at a time, 16 MB in float32: memory grows with N, not with N x N."""
PATCHES_IN_FLOAT16 = 1024
"""Patches whose weighted sum stays below float16's largest number, 65,504; more are scaled down."""


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
    height, width = features.shape[-2:]
    values = features.flatten(2).transpose(1, 2)  # (B, N, D)
    given = F.normalize(embeddings, dim=1).flatten(2)  # (B, P, N)
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
    if weights.dtype == torch.float16 and weights.shape[-1] > PATCHES_IN_FLOAT16:
        # by a power of two, which the division takes out again to the bit
        weights *= 2.0 ** -math.ceil(math.log2(weights.shape[-1] / PATCHES_IN_FLOAT16))
    return weights @ values / (weights.sum(-1, keepdim=True) + 1e-6)


def share_by_keys(probabilities: Tensor, keys: Tensor) -> Tensor:
    """Let patches decide together with those of similar keys, as in MaskCLIP's key smoothing.

    Each patch gets the sum of all patches' probabilities, weighted by the
    products of its key with theirs. Products below 0 count against a class.

    Parameters
    ----------
    probabilities
        (B, K, h, w).
    keys
        (B, G, h, w), normalised.

    Returns
    -------
    Tensor
        (B, K, h, w) in [0, 1], with sum 1 over K. A patch's best class is that
        of the largest sum; the others have what is above 0.
    """
    shares, given = probabilities.flatten(2), keys.flatten(2)  # (B, K, N), (B, G, N)
    sums = (shares @ given.mT @ given).unflatten(2, probabilities.shape[2:])
    best = sums.amax(1, keepdim=True)
    kept = torch.where(best > 0, sums.clamp(min=0), (sums == best).float())
    return kept / kept.sum(1, keepdim=True)
