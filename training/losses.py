"""The losses of heads: the teacher's correlations and its objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from .settings import Weighting

SIMILAR = 0.2
"""Cosine from which the teacher considers two patches similar: gamma in the paper."""
PAIRS_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}
"""Pairs of patches processed at a time: on the CPU, as many as fit into its cache; on a GPU, 256 MB
per array."""


def correlation_loss(embeddings: Tensor, teacher: Tensor, weighting: Weighting) -> Tensor:
    """Binary cross-entropy of the heads' correlations against the teacher's.

    As in the published code, negative cosines count as 0 and have no gradient, and cosines
    are used as logits.

    Parameters
    ----------
    embeddings
        (B, P, h, w), float32, the first output of `DinoiserHeads`.
    teacher
        (B, C, h, w), features whose cosines are the teacher's correlations.
    weighting
        "published": mean over all pairs of patches. "balanced": a pair (i, j) has weight
        1 / (n_i n_j), where n_i is the number of patches that the teacher considers similar
        to patch i. For a teacher that divides images into segments, all pairs of segments
        then have equal weight, whatever their sizes.

    Returns
    -------
    Tensor
        A scalar, the mean over the B images.
    """
    student = F.normalize(embeddings.flatten(2), dim=1)
    teacher = F.normalize(teacher.flatten(2).float(), dim=1)
    weights = torch.ones_like(student[:, 0])
    if weighting == "balanced":
        counts = [similar_pairs(teacher, rows).sum(-1) for rows in row_parts(teacher)]
        weights = torch.cat(counts, 1).float().reciprocal()
    weights = weights / weights.sum(1, keepdim=True)  # (B, N): pair (i, j) has weight w_i w_j
    loss: Tensor = _CorrelationLoss.apply(student, teacher, weights)
    return loss


def row_parts(unit: Tensor) -> list[slice]:
    """Split the rows of the (B, N, N) pairs of vectors (B, C, N) into parts processed at a time."""
    batch, _, patches = unit.shape
    rows = max(1, PAIRS_AT_ONCE.get(unit.device.type, 2**22) // (batch * patches))
    return [slice(start, start + rows) for start in range(0, patches, rows)]


def similar_pairs(unit: Tensor, rows: slice = slice(None)) -> Tensor:
    """(B, n, N) bool: which patches the teacher, unit vectors (B, C, N), considers similar."""
    return unit[..., rows].transpose(1, 2) @ unit >= SIMILAR


class _CorrelationLoss(torch.autograd.Function):
    """Loss and gradient of unit vectors (B, P, N) in one pass, a few rows of pairs at a time.

    The loss is symmetric in the two patches of a pair, so the gradient for a patch is twice the
    gradient for it as the first patch of its pairs. No (N, N) array is ever complete.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
        loss = student.new_zeros(())
        gradient = torch.empty_like(student)
        for rows in row_parts(student):
            # the loss of n rows: (B, n, P) @ (B, P, N) = (B, n, N) cosines, used as logits
            cosines = student[..., rows].transpose(1, 2) @ student
            logits = cosines.clamp(min=0)
            similar = similar_pairs(teacher, rows)
            losses = F.softplus(logits) - logits * similar
            loss += torch.einsum("bn,bnm,bm->", weights[:, rows], losses, weights)
            # its derivative by the cosines, 0 where they were clamped, with the weights of pairs
            slopes = (logits.sigmoid() - similar.float()).masked_fill_(cosines < 0, 0)
            slopes *= weights[:, rows, None]
            slopes *= weights[:, None]
            # and by the vectors of the n rows: (B, P, N) @ (B, N, n) = (B, P, n)
            gradient[..., rows] = student @ slopes.transpose(1, 2)
        ctx.save_for_backward(2 / len(student) * gradient)
        return loss / len(student)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None


def objectness_loss(foreground: Tensor, objects: Tensor, weighting: Weighting) -> Tensor:
    """Binary cross-entropy of logits (B, h, w) against the teacher's objects (B, h, w), bool.

    "published" is the mean over all patches; "balanced" is the mean over images, in each of
    which objects and background have equal weight, however many patches they have.
    """
    losses = F.binary_cross_entropy_with_logits(foreground, objects.float(), reduction="none")
    if weighting == "published":
        return losses.mean()
    parts = torch.stack([objects, ~objects]).flatten(2).float()  # (2, B, N)
    means = (losses.flatten(1) * parts).sum(2) / parts.sum(2).clamp(min=1)
    # an image without objects, or without background, has only one of the two means
    return (means.sum(0) / parts.any(2).sum(0)).mean()
