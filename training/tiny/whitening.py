"""Whitened 3x3 neighbourhoods of patches: the space in which the object head is trained.

Neighbouring tokens are so alike that a few directions hold nearly all of their
variance, and a convolution trained on the raw tokens learns little else. In the
whitened space every direction counts alike, and a map of that space is a
convolution of the raw tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from .patches import ScenePatches

COMPONENTS = 640
"""Directions that are kept, those of the largest variance."""
SMALLEST_VARIANCE = 1e-3
"""Added to every variance, as a share of their mean."""


@dataclass(frozen=True)
class Whitening:
    """Maps 3x3 neighbourhoods to K uncorrelated numbers of about variance 1.

    Attributes
    ----------
    mean
        (9 C,), mean neighbourhood, in the order of a convolution's weights.
    matrix
        (K, 9 C).
    within
        (K, K), covariance that remains inside the segments, in the whitened space.
    """

    mean: Tensor
    matrix: Tensor
    within: Tensor

    def first_map(self, rows: int) -> Tensor:
        """(rows, K), the directions in which patches of one segment differ least.

        All variances are 1, so these are also the directions that tell segments apart best:
        linear discriminant analysis with the segments as classes.
        """
        _, directions = torch.linalg.eigh(self.within.double())
        return directions[:, :rows].T.float().contiguous()

    def as_convolution(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel (P, C, 3, 3) and bias (P,) of the map ``weight @ whitened + bias``."""
        kernel = weight @ self.matrix
        return kernel.view(len(kernel), -1, 3, 3), bias - kernel @ self.mean


def fit_whitening(scenes: ScenePatches) -> Whitening:
    """Fit the whitening to scenes, small segments counting more than their share of patches."""
    size = 9 * scenes.guide.shape[1]
    mean, second, within = torch.zeros(size), torch.zeros(size, size), torch.zeros(size, size)
    for guide, classes in zip(scenes.guide, scenes.classes.flatten(1), strict=True):
        inputs = neighbourhoods(guide)
        segments = F.one_hot(classes).float()  # (N, segments)
        weights = segments.sum(0)[classes].rsqrt()[:, None]
        weights = weights / weights.sum() / len(scenes)
        centres = segments.T @ (weights * inputs) / (segments.T @ weights).clamp(min=1e-12)
        inside = inputs - segments @ centres
        mean += (weights * inputs).sum(0)
        second += (weights * inputs).T @ inputs
        within += (weights * inside).T @ inside
    variances, directions = torch.linalg.eigh((second - torch.outer(mean, mean)).double())
    scales = variances.clamp(min=0) + SMALLEST_VARIANCE * variances.mean()
    matrix = (directions * scales.rsqrt())[:, -COMPONENTS:].T.float()
    return Whitening(mean, matrix, matrix @ within @ matrix.T)


def neighbourhoods(guide: Tensor) -> Tensor:
    """All 3x3 neighbourhoods (N, 9 C) of (C, h, w), the border replicated."""
    padded = F.pad(guide.float()[None], (1, 1, 1, 1), mode="replicate")
    return F.unfold(padded, 3)[0].T
