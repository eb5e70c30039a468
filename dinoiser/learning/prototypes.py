"""Classes whose words find nothing: their examples take the words' place."""

from __future__ import annotations

import torch

from dinoiser.segment.scoring import LEARNT_AT


def replace_words(
    embeddings: torch.Tensor,
    features: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    failing: torch.Tensor,
) -> torch.Tensor:
    """Put the mean patch of classes where a word for it would be, as seen from the other classes.

    Patches and words lie far apart, in different parts of the same space. So a
    class goes as far from the words of the others, and in the same direction, as
    its mean patch is from theirs; distances are scaled such that all classes are
    spread as their words are.

    Parameters
    ----------
    embeddings
        (K, D), of the words of each class.
    features, targets, weights
        Examples, see `fit_shifts`.
    failing
        (K,) bool, the classes. Those without examples stay at their words.

    Returns
    -------
    Tensor
        (K, D) float32: the change of 100 times the embeddings.
    """
    classes = len(embeddings)
    total = weights.new_zeros(classes).index_add(0, targets, weights)
    sums = torch.zeros_like(embeddings).index_add(0, targets, features * weights[:, None])
    there = total > 0
    moving, others = there & failing, there & ~failing
    shift = torch.zeros_like(embeddings)
    if not (moving.any() and others.any()):
        return shift
    means = sums / total.where(there, 1)[:, None]
    scale = _spread(embeddings[there]) / _spread(means[there]).clamp(min=1e-6)
    found = embeddings[others].mean(0) + scale * (means - means[others].mean(0))
    shift[moving] = LEARNT_AT * (found - embeddings)[moving]
    return shift


def _spread(points: torch.Tensor) -> torch.Tensor:
    return (points - points.mean(0)).norm()
