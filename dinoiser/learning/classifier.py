"""Multinomial logistic regression that starts at the words, and moves as far as is allowed.

    minimise  sum_i w_i CE(x_i, y_i) / sum_i w_i  +  penalty |D|^2

over the change D of 100 times the class embeddings, where x_i are patches of unit length.
The problem is convex, so that there is one answer, whatever the order of examples. Classes without
examples stay at their words.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize  # type: ignore[import-untyped]
from torch.nn import functional as F

from dinoiser.segment.passes import one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

MOST_STEPS = 100


def fit_shifts(
    features: Tensor, targets: Tensor, weights: Tensor, logits: Tensor, penalties: Sequence[float]
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
        How much a change costs, from the highest to the lowest; infinity allows
        none.

    Returns
    -------
    list of Tensor
        (K, D) float32 for each penalty: the product with a patch is added to
        the class's logit.
    """
    (count, dimensions), classes = features.shape, logits.shape[1]
    free = torch.bincount(targets, minlength=classes).nonzero()[:, 0]
    x, start = features.double(), logits.double()
    share = weights.double() / weights.double().sum()
    one_hot = F.one_hot(targets, classes).double()

    def loss(flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        shift = torch.from_numpy(flat).view(len(free), dimensions)
        log = start.index_add(1, free, x @ shift.T).log_softmax(1)
        value = penalty * shift.square().sum() - (share[:, None] * one_hot * log).sum()
        slope = share[:, None] * (log.exp() - one_hot)
        gradient = slope[:, free].T @ x + 2 * penalty * shift
        return float(value), gradient.flatten().numpy()

    shifts, flat = [], np.zeros(len(free) * dimensions)
    with one_thread():  # products are so small that several would wait for each other
        for penalty in penalties:  # each begins where the one before ended
            if count and math.isfinite(penalty):
                options = {"maxiter": MOST_STEPS, "gtol": 1e-6}
                flat = minimize(loss, flat, (penalty,), "L-BFGS-B", jac=True, options=options).x
            shift = torch.zeros(classes, dimensions)
            shift[free] = torch.from_numpy(flat).view(len(free), dimensions).float()
            shifts.append(shift)
    return shifts
