"""Multinomial logistic regression that starts at the words, and moves as far as is allowed.

    minimise  sum_i w_i CE(x_i, y_i) / sum_i w_i  +  penalty |D|^2

over the change D of `temperature` times the class embeddings, where x_i are patches of unit length.
The problem is convex, so that there is one answer, whatever the order of examples. Classes without
examples stay at their words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

MOST_STEPS = 60


def fit_shift(
    features: Tensor, targets: Tensor, weights: Tensor, logits: Tensor, penalty: float
) -> Tensor:
    """Fit the change of class embeddings.

    Parameters
    ----------
    features
        (N, D), rows of unit length.
    targets
        (N,) int64, places of classes, 0 to K - 1.
    weights
        (N,), positive.
    logits
        (N, K), what the words say.
    penalty
        How much a change costs; infinity allows none.

    Returns
    -------
    Tensor
        (K, D) float32: the product with a patch is added to the class's logit.
    """
    classes = logits.shape[1]
    free = torch.bincount(targets, minlength=classes).bool()
    x, start = features.double(), logits.double()
    share = weights.double() / weights.double().sum()
    shift = torch.zeros(int(free.sum()), x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [shift], max_iter=MOST_STEPS, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        moved = start.index_add(1, free.nonzero()[:, 0], x @ shift.T)
        value = (share * F.cross_entropy(moved, targets, reduction="none")).sum()
        value = value + penalty * shift.square().sum()
        value.backward()
        return value

    if penalty < float("inf") and len(x):
        optimizer.step(loss)
    result = torch.zeros(classes, x.shape[1])
    result[free] = shift.detach().float()
    return result
