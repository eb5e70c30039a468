"""Measure how well heads agree with their teacher on held-out images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.models.device import to_float64

from .images import Crops, TrainingImages, centre_crop, stack
from .losses import similar_pairs
from .student import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dinoiser.models.clip_dinoiser import DinoiserHeads
    from dinoiser.models.maskclip import MaskClip

    from .teachers import Teacher


class Agreement(NamedTuple):
    """Agreement of heads with their teacher; both numbers are in [0, 1].

    Attributes
    ----------
    average_precision
        Average precision of the heads' correlations in finding pairs of patches that the
        teacher considers similar; the mean over images.
    mask_iou
        Intersection over union of the objects, over all images.
    """

    average_precision: float
    mask_iou: float


def centre_batch(images: TrainingImages, indices: Iterable[int], side: int) -> Crops:
    """Cut out the square centres of some images."""
    return stack([centre_crop(images[index], side) for index in indices])


def prepare_held_out(
    model: MaskClip, teacher: Teacher, images: TrainingImages, side: int
) -> list[Prepared]:
    """Run the frozen networks on the centres of all images, one by one."""
    batches = (centre_batch(images, [index], side) for index in range(len(images)))
    return [prepare(model, teacher, batch.to(model.device)) for batch in batches]


@torch.no_grad()
def agreement(heads: DinoiserHeads, prepared: Sequence[Prepared]) -> Agreement:
    """Compare heads with the teacher on the prepared outputs for some images."""
    precisions, both, either = [], 0, 0
    for part in prepared:
        embeddings, foreground = heads(part.guide)
        student = F.normalize(embeddings.flatten(2), dim=1)
        teacher = F.normalize(part.targets.features.flatten(2), dim=1)
        # per image: (N, N) correlations ranked against the teacher's similar pairs
        for one, other in zip(student, teacher, strict=True):
            precisions.append(average_precision(one.T @ one, similar_pairs(other[None])[0]))
        found, true = foreground > 0, part.targets.objects
        both += int((found & true).sum())
        either += int((found | true).sum())
    return Agreement(sum(precisions) / len(precisions), both / either if either else 1.0)


def average_precision(scores: Tensor, relevant: Tensor) -> float:
    """Mean, over relevant items, of the precision at the item's rank.

    Parameters
    ----------
    scores, relevant
        Numbers and booleans of the same shape. Ties are ranked in their given order.
    """
    order = scores.flatten().argsort(descending=True, stable=True)
    # precision at each rank, averaged over the ranks of relevant items
    ranked = to_float64(relevant.flatten()[order])
    ranks = torch.arange(1, len(ranked) + 1, device=ranked.device)
    return float((ranked.cumsum(0) / ranks * ranked).sum() / ranked.sum())
