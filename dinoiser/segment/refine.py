"""PAMR: the refinement of probabilities by neighbours of similar colour that papers use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from dinoiser.segment.probability_map import ProbabilityMap

ROUNDS = 10
DILATIONS = (1, 2, 4, 8, 12, 24)
CLASSES_AT_ONCE = 30
DIRECTIONS = [
    (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)
]


def pamr(
    probabilities: Tensor,
    image: Tensor,
    rounds: int = ROUNDS,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:
    """Replace each pixel's probabilities by those of similar pixels around it, several times.

    Parameters
    ----------
    probabilities
        (K, H, W), the map of each class.
    image
        (3, H, W) in [0, 1].
    rounds
        How often.
    dilations
        Distances of the eight neighbours, in pixels.

    Returns
    -------
    Tensor
        (K, H, W), within the range of `probabilities`.

    References
    ----------
    Araslanov and Roth, Single-Stage Semantic Segmentation from Image Labels,
    CVPR 2020: pixel-adaptive mask refinement, with the constants of the
    published code.
    """
    weights = _affinities(image, dilations)
    refined = [
        _mix(some, weights, rounds, dilations) for some in probabilities.split(CLASSES_AT_ONCE)
    ]
    return torch.cat(refined)


def refine_map(
    probabilities: ProbabilityMap, image: Tensor, dilations: Sequence[int] | None = None
) -> ProbabilityMap:
    """Apply `pamr` to a map, at the size and step of the method's published evaluation.

    Parameters
    ----------
    probabilities
        The map of the whole image.
    image
        (3, h, w) in [0, 1], at the working size.
    dilations
        See `Scoring`.
    """
    unrefined = probabilities.to_refine()
    size = unrefined.layout.size
    maps = unrefined.mosaic.new_empty((unrefined.class_count, *size))
    for tile, pixels in unrefined.tiles():
        maps[:, *tile] = pixels
    guide = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
    refined = pamr(maps, guide.to(maps.device), dilations=dilations or DILATIONS)
    return probabilities.with_pixels(refined)


def _affinities(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """Weights (neighbours, H, W) of the neighbours of each pixel, with sum 1."""
    neighbours = torch.stack(list(_each_neighbour(image, dilations)))  # (neighbours, 3, H, W)
    # the deviation of each colour around a pixel, which itself counts once for each dilation
    around = torch.cat([neighbours, image.expand(len(dilations), -1, -1, -1)])
    spread = 1e-8 + 0.1 * around.std(0)
    return (-(neighbours - image).abs() / spread).mean(1).softmax(0)


def _mix(maps: Tensor, weights: Tensor, rounds: int, dilations: Sequence[int]) -> Tensor:
    for _ in range(rounds):
        mixed = torch.zeros_like(maps)
        for neighbour, weight in zip(_each_neighbour(maps, dilations), weights, strict=True):
            mixed += neighbour * weight
        maps = mixed
    return maps


def _each_neighbour(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Yield maps (C, H, W) shifted to each neighbour, with the edges repeated."""
    height, width = maps.shape[-2:]
    for distance in dilations:
        padded = F.pad(maps[None], (distance,) * 4, mode="replicate")[0]
        for down, right in DIRECTIONS:
            top, left = distance * (1 + down), distance * (1 + right)
            yield padded[:, top : top + height, left : left + width]
