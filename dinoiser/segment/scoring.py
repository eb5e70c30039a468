"""Patch features against class embeddings: probabilities at patch resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence


def class_probabilities(
    features: Tensor,
    class_embeddings: Tensor,
    temperature: float = 100.0,
    phrases_per_class: Sequence[int] | None = None,
) -> Tensor:
    """Softmax over classes of the cosines between patches and class embeddings.

    Parameters
    ----------
    features
        (B, D, h, w), any length.
    class_embeddings
        (K, D), rows of unit length; or (P, D), one row a phrase, the phrases
        of a class beside each other.
    temperature
        Factor of the cosines; the published code's constant is 100.
    phrases_per_class
        K counts that sum to P; a class's cosine is the best of its phrases'.
        None: one phrase a class, exactly the paper.

    Returns
    -------
    Tensor
        (B, K, h, w) float32 in [0, 1], sums to 1 over K.
    """
    unit = F.normalize(features.float(), dim=1)
    cosines = torch.einsum("bdhw,pd->bphw", unit, class_embeddings.float())
    if phrases_per_class is not None:
        groups = cosines.split(list(phrases_per_class), dim=1)
        cosines = torch.stack([group.amax(1) for group in groups], 1)
    return (temperature * cosines).softmax(1)
