"""Measure how well heads agree with their teacher on images that they have not learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from scipy.special import stdtrit  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

from .images import Crops, TrainingImages, centre_crop, stack
from .losses import similar_pairs
from .regions import find_regions
from .student import Prepared, prepare
from .teachers import SegmentTeacher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dinoiser.models.clip_dinoiser import DinoiserHeads
    from dinoiser.models.maskclip import MaskClip

    from .teachers import Teacher

FEWEST_JUDGED = 3
"""Images on which the teacher tells something apart; with fewer, agreement says nothing."""
THRESHOLDS = 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9
"""From which cosine patches are similar to the heads: each set has the one of these that suits it.
By a threshold that is the same for all, heads whose cosines are lower throughout seem to know
nothing, though they tell patches apart better (`docs/how-to/train.md` has numbers)."""
CERTAINTY = 0.95
"""That a gain over other heads is none by chance."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of heads with their teacher, image by image.

    Attributes
    ----------
    pairs
        (n,) float64 in [0, 1]: intersection over union of the pairs of patches that are
        similar to the heads, see `THRESHOLDS`, and to the teacher. All segments of an image
        have the same weight, whatever their sizes. NaN where all patches are similar.
    objects
        (n,) float64 in [0, 1]: intersection over union of the objects. NaN where the
        teacher finds none, or nothing else.
    """

    pairs: np.ndarray
    objects: np.ndarray

    @property
    def overall(self) -> np.ndarray:
        """Mean (n,) of what there is of both numbers; NaN where there is neither."""
        both = np.stack([self.pairs, self.objects])
        known = np.isfinite(both)
        means = np.where(known, both, 0).sum(0) / known.sum(0).clip(1)
        return np.where(known.any(0), means, np.nan)

    @property
    def says_something(self) -> bool:
        """Whether there are enough images on which the teacher tells something apart."""
        return bool(np.isfinite(self.overall).sum() >= FEWEST_JUDGED)

    @classmethod
    def joined(cls, parts: Sequence[Agreement]) -> Self:
        """Join the images of several agreements."""
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("pairs", "objects")))

    def is_better_than(self, other: Agreement) -> bool:
        """Whether agreement on the same images is better, with a certainty of `CERTAINTY`."""
        gains = self.overall - other.overall
        gains = gains[np.isfinite(gains)]
        if len(gains) < FEWEST_JUDGED:
            return False
        # Student's t over images
        error = gains.std(ddof=1) / np.sqrt(len(gains))
        return bool(gains.mean() > stdtrit(len(gains) - 1, CERTAINTY) * error)

    def summary(self) -> dict[str, float | int | None]:
        """Means and standard deviations over the images that say something, as JSON takes them."""
        found: dict[str, float | int | None] = {}
        for name in ("pairs", "objects"):
            values = getattr(self, name)
            values = values[np.isfinite(values)]
            found[name] = float(values.mean()) if len(values) else None
            found[f"{name}_spread"] = float(values.std()) if len(values) else None
        return {**found, "images": int(np.isfinite(self.overall).sum())}


def centre_batch(images: TrainingImages, indices: Iterable[int], side: int) -> Crops:
    """Cut out the square centres of some images."""
    return stack([centre_crop(images[index], side) for index in indices])


def prepare_held_out(
    model: MaskClip, teacher: Teacher, images: TrainingImages, side: int
) -> list[Prepared]:
    """Run the frozen networks on the centres of all images, one by one."""
    batches = (centre_batch(images, [index], side) for index in range(len(images)))
    return [prepare(model, teacher, batch.to(model.device)) for batch in batches]


def taught_by_regions(
    prepared: Sequence[Prepared], images: TrainingImages, side: int
) -> list[Prepared]:
    """Put regions of similar colour, which need no network, in the place of a teacher's targets.

    `prepared` has been made of the same images by `prepare_held_out`.
    """
    teacher, found = SegmentTeacher("regions"), []
    for index, part in enumerate(prepared):
        image = images[index]
        regions = find_regions(image.image.permute(1, 2, 0).numpy())
        batch = stack([centre_crop(image._replace(labels=torch.from_numpy(regions)), side)])
        grid = (part.guide.shape[-2], part.guide.shape[-1])
        found.append(Prepared(part.guide, teacher.targets(batch.to(part.guide.device), grid)))
    return found


@torch.no_grad()
def agreement(heads: DinoiserHeads, prepared: Sequence[Prepared], similar: float) -> Agreement:
    """Compare heads with the teacher on images.

    Parameters
    ----------
    heads
        The heads.
    prepared
        Outputs of the frozen networks, one for each image.
    similar
        The teacher's threshold, see `FitSettings.similar`.
    """
    pairs, objects = [], []
    for part in prepared:
        embeddings, foreground = heads(part.guide)
        known = part.targets.known[0].flatten()
        # (1, C, h, w) -> (C, N), of the N patches that take part
        student, teacher = (
            F.normalize(maps[0].flatten(1)[:, known], dim=0)
            for maps in (embeddings, part.targets.features)
        )
        alike = similar_pairs(teacher[None], similar)[0]
        cosines = student.T @ student
        pairs.append([pairs_iou(cosines >= threshold, alike) for threshold in THRESHOLDS])
        found, true = (maps[0].flatten()[known] for maps in (foreground, part.targets.objects))
        objects.append(objects_iou(found > 0, true))
    by_threshold = np.array(pairs).reshape(-1, len(THRESHOLDS))  # (images, thresholds)
    best = np.nansum(by_threshold, 0).argmax()
    return Agreement(by_threshold[:, best], np.array(objects))


def pairs_iou(pooled: Tensor, alike: Tensor) -> float:
    """IoU of pairs (N, N), bool; pair (i, j) weighs 1 / (n_i n_j), as in balanced losses."""
    if alike.all():
        return np.nan
    weights = alike.sum(1).float().clamp(min=1).reciprocal()
    both, either = (
        torch.einsum("n,nm,m->", weights, some.float(), weights)
        for some in (pooled & alike, pooled | alike)
    )
    return float(both / either)


def objects_iou(found: Tensor, true: Tensor) -> float:
    """IoU of objects (N,), bool; NaN where there are none, or nothing else."""
    if true.all() or not true.any():
        return np.nan
    return float((found & true).sum() / (found | true).sum())
