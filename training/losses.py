"""The losses of heads: the teacher's correlations and its objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from .settings import Weighting

PAIRS_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}
"""Pairs of patches processed at a time: on the CPU, as many as fit into its cache; on a GPU, 256 MB
per array."""


def correlation_loss(
    embeddings: Tensor,
    teacher: Tensor,
    weighting: Weighting,
    similar: float = 0.2,
    known: Tensor | None = None,
) -> Tensor:
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
    similar
        Cosine from which the teacher considers two patches similar.
    known
        (B, h, w), bool: the patches that take part; None for all.

    Returns
    -------
    Tensor
        A scalar, the mean over the B images.
    """
    student = F.normalize(embeddings.flatten(2), dim=1)
    teacher = F.normalize(teacher.flatten(2).float(), dim=1)
    weights = torch.ones_like(student[:, 0])
    if weighting == "balanced":
        counts = [similar_pairs(teacher, similar, rows).sum(-1) for rows in row_parts(teacher)]
        weights = torch.cat(counts, 1).float().clamp(min=1).reciprocal()
    if known is not None:
        weights = weights * known.flatten(1)
    # (B, N): pair (i, j) has weight w_i w_j; an image of which nothing is known has none
    weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo().tiny)
    loss: Tensor = _CorrelationLoss.apply(student, teacher, weights, similar)
    return loss


def row_parts(unit: Tensor) -> list[slice]:
    """Split the rows of the (B, N, N) pairs of vectors (B, C, N) into parts processed at a time."""
    batch, _, patches = unit.shape
    rows = max(1, PAIRS_AT_ONCE.get(unit.device.type, 2**22) // (batch * patches))
    return [slice(start, start + rows) for start in range(0, patches, rows)]


def similar_pairs(unit: Tensor, similar: float, rows: slice = slice(None)) -> Tensor:
    """(B, n, N) bool: which of the unit vectors (B, C, N) have at least the cosine `similar`."""
    return unit[..., rows].transpose(1, 2) @ unit >= similar


class _CorrelationLoss(torch.autograd.Function):
    """Loss and gradient of unit vectors (B, P, N) in one pass, a few rows of pairs at a time.

    The loss is symmetric in the two patches of a pair, so the gradient for a patch is twice the
    gradient for it as the first patch of its pairs. No (N, N) array is ever complete.
    """

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, weights: Tensor, threshold: float
    ) -> Tensor:
        loss = student.new_zeros(())
        gradient = torch.empty_like(student)
        for rows in row_parts(student):
            # the loss of n rows: (B, n, P) @ (B, P, N) = (B, n, N) cosines, used as logits
            cosines = student[..., rows].transpose(1, 2) @ student
            logits = cosines.clamp(min=0)
            similar = similar_pairs(teacher, threshold, rows)
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
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None, None


def objectness_loss(
    foreground: Tensor, objects: Tensor, weighting: Weighting, known: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of logits (B, h, w) against the teacher's objects (B, h, w), bool.

    "published" is the mean over all patches; "balanced" is the mean over images, in each of
    which objects and background have equal weight, however many patches they have. Of the
    patches, those in `known` (B, h, w), bool, take part.
    """
    known = torch.ones_like(objects) if known is None else known
    losses = F.binary_cross_entropy_with_logits(foreground, objects.float(), reduction="none")
    if weighting == "published":
        # per image first, so that splitting a batch changes nothing
        return ((losses * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)).mean()
    parts = torch.stack([objects & known, ~objects & known]).flatten(2).float()  # (2, B, N)
    means = (losses.flatten(1) * parts).sum(2) / parts.sum(2).clamp(min=1)
    # an image without objects, or without background, has only one of the two means
    return (means.sum(0) / parts.any(2).sum(0).clamp(min=1)).mean()
