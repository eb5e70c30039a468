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
from collections import deque
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
HISTORY = 10
"""Steps that tell the curvature."""
LEAST_DESCENT = 1e-4
"""Of a step, as a share of what its slope promises (Nocedal & Wright, section 3.1)."""
SMALLEST_STEP = 1e-6
"""As a share of the first try."""
RIDGE = 0.25
"""Cost of a change in a direction in which patches do not vary, as a share of the mean cost."""


@torch.no_grad()
def cost_factor(features: Tensor) -> Tensor:
    """Return the factor (D, D) of the cost of a change: how much it varies over patches (N, D)."""
    with one_thread():  # several would add in an order that changes
        cost = features.T.cov(correction=0)
        ridge = (RIDGE * cost.trace() / len(cost)).clamp(min=1e-6)  # all patches may be alike
        return torch.linalg.cholesky(cost + ridge * torch.eye(len(cost), dtype=cost.dtype))


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
    change = torch.zeros(len(free), features.shape[1], dtype=torch.float64)

    def loss(penalty: float, change: Tensor) -> tuple[float, Tensor]:
        log = start.index_add(0, free, change.float() @ columns).log_softmax(0)
        slope = log.exp() * share - truth
        value = penalty * change.square().sum() - (truth * log).sum()
        return float(value), (slope[free] @ features).double() + 2 * penalty * change

    shifts = []
    with one_thread():  # products are so small that several would wait for each other
        for penalty in penalties:  # each begins where the one before ended
            if len(targets) and math.isfinite(penalty):
                change = _minimise(partial(loss, penalty), change)
            shift = features.new_zeros(classes, features.shape[1])
            shift[free] = change.float()
            shifts.append(shift)
    return shifts


def _minimise(loss: Callable[[Tensor], tuple[float, Tensor]], x: Tensor) -> Tensor:
    """Return the minimum of a convex loss, which gives a value and its slope, by L-BFGS.

    Algorithm 7.5 of Nocedal & Wright, Numerical Optimization, with steps halved until they
    descend; as the loss is convex, that is enough. torch's own brings torch's compiler along, whose
    import takes longer than a person waits for a stroke, and SciPy's has its algebra done by
    threads that wait for each other.
    """
    value, slope = loss(x)
    pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=HISTORY)
    for _ in range(MOST_STEPS):
        if slope.abs().max() <= LEAST_SLOPE:
            break
        step = -_precondition(slope, pairs) if pairs else -slope / slope.abs().sum().clamp(min=1)
        descent = float((slope * step).sum())
        size, (new_value, new_slope) = 1.0, loss(x + step)
        while new_value > value + LEAST_DESCENT * size * descent:
            size /= 2
            if size < SMALLEST_STEP:  # as low as numbers can tell
                return x
            new_value, new_slope = loss(x + size * step)
        moved, turned = size * step, new_slope - slope
        if (bend := float((moved * turned).sum())) > 0:  # it may be 0, where numbers end
            pairs.append((moved, turned, bend))
        x, value, slope = x + moved, new_value, new_slope
    return x


def _precondition(slope: Tensor, pairs: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Multiply a slope by the inverse curvature that earlier steps tell (algorithm 7.4)."""
    scales = []
    for moved, turned, bend in reversed(pairs):
        scales.append((moved * slope).sum() / bend)
        slope = slope - scales[-1] * turned
    _, turned, bend = pairs[-1]
    slope = slope * bend / turned.square().sum()
    for moved, turned, bend in pairs:
        slope = slope + (scales.pop() - (turned * slope).sum() / bend) * moved
    return slope
