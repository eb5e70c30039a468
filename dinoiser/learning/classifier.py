"""Multinomial logistic regression that starts at the words, and moves as far as is allowed.

    minimise  sum_i w_i CE(x_i, y_i) / sum_i w_i  +  penalty cost(D)

over the change D of 100 times the class embeddings, where x_i are patches of unit length. What D
costs is the square of its length or, better where examples are many, how much what it adds to a
class's logit varies from patch to patch: the same for all patches is then nearly free, and models
with other features need no other penalties. The problem is convex, so that there is one answer,
whatever the order of examples. Classes without examples stay at their words.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from dinoiser.models.device import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

MOST_STEPS = 30
LEAST_SLOPE = 1e-4
"""Where a fit ends: a tenth of it changed mean IoU by 0.001 at most, in twice the time."""
RIDGE = 0.25
"""Cost of a change in a direction in which patches do not vary, as a share of the mean cost."""


@torch.no_grad()
def cost_factor(features: Tensor) -> Tensor:
    """Return the factor (D, D) of the cost of a change: how much it varies over patches (N, D)."""
    with one_thread():  # several would add in an order that changes
        cost = features.T.cov(correction=0)
        ridge = (RIDGE * cost.trace() / len(cost)).clamp(min=1e-6)  # all patches may be alike
        return torch.linalg.cholesky(cost + ridge * torch.eye(len(cost)))


def fit_shifts(
    features: Tensor,
    targets: Tensor,
    weights: Tensor,
    logits: Tensor,
    penalties: Sequence[float],
    factor: Tensor | None = None,
) -> list[Tensor]:
    """Fit the change of class embeddings, for each of some penalties.

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
    penalties
        Of a change, from the highest to the lowest; infinity allows none.
    factor
        (D, D), lower triangular, see `cost_factor`: a change d of a class costs
        |factor^T d|^2; None for |d|^2.

    Returns
    -------
    list of Tensor
        (K, D) float32 for each penalty: the product with a patch is added to
        the class's logit.
    """
    if factor is not None:  # in coordinates in which the cost is that of the length
        straight = torch.linalg.solve_triangular(factor, features.T, upper=False).T.contiguous()
        shifts = fit_shifts(straight, targets, weights, logits, penalties)
        return [
            torch.linalg.solve_triangular(factor, one, upper=False, left=False) for one in shifts
        ]
    classes = logits.shape[1]
    free = torch.bincount(targets, minlength=classes).nonzero()[:, 0]
    share = weights / weights.sum()
    # classes come first, so that the softmax works on long rows
    columns, start = features.T.contiguous(), logits.T.contiguous()
    truth = F.one_hot(targets, classes).T * share
    # in double precision: small steps near the end would be lost
    change = torch.zeros(len(free), features.shape[1], dtype=torch.float64, requires_grad=True)

    @torch.no_grad()
    def loss(penalty: float) -> float:
        log = start.index_add(0, free, change.float() @ columns).log_softmax(0)
        slope = log.exp() * share - truth
        change.grad = (slope[free] @ features).double() + 2 * penalty * change
        return float(penalty * change.square().sum() - (truth * log).sum())

    shifts = []
    with one_thread():  # products are so small that several would wait for each other
        for penalty in penalties:  # each begins where the one before ended
            if len(targets) and math.isfinite(penalty):
                _minimise(change, partial(loss, penalty))
            shift = torch.zeros(classes, features.shape[1])
            shift[free] = change.detach().float()
            shifts.append(shift)
    return shifts


def _minimise(change: Tensor, loss: Callable[[], float]) -> None:
    """Move to the minimum of a convex loss that leaves its slope in `change.grad`."""
    # SciPy's would have its algebra done by threads that wait for each other
    solver = torch.optim.LBFGS(
        [change],
        max_iter=MOST_STEPS,
        tolerance_grad=LEAST_SLOPE,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    solver.step(loss)
