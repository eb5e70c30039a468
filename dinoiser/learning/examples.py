"""Examples: the patches of a corrected image, and which class each has most of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from dinoiser.errors import InputError
from dinoiser.labels import ignore_label
from dinoiser.segment.encoded_image import EncodedImage

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SHARE = 0.5
"""A patch is an example of a class that has at least this share of its pixels."""
LEAST_STROKE_SHARE = 0.1
"""The same where strokes are painted, which are thinner than patches."""


class Examples(NamedTuple):
    """The patches of one image that a person has labelled.

    Attributes
    ----------
    features
        (N, D) float32, rows of unit length.
    labels
        (N,) int64, class ids.
    weights
        (N,) float32, positive: the share of the class in the patch, and more
        where other patches were left out.
    foreground
        (N,) float32, objectness logits; None if the model has none.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    foreground: Tensor | None

    def thinned(self, most: int) -> Examples:
        """Keep at most so many patches of a class, evenly chosen, which weigh as much as all."""
        kept, weights = [], self.weights.clone()
        for label in self.labels.unique():
            places = (self.labels == label).nonzero()[:, 0]
            count = min(most, len(places))
            even = torch.linspace(0, len(places) - 1, count, dtype=torch.float32)
            some = places[even.long()]
            weights[some] *= weights[places].sum() / weights[some].sum()
            kept.append(some)
        chosen = torch.cat(kept) if kept else torch.zeros(0, dtype=torch.int64)
        foreground = None if self.foreground is None else self.foreground[chosen]
        return Examples(self.features[chosen], self.labels[chosen], weights[chosen], foreground)


@torch.no_grad()
def examples_of(
    encoded: EncodedImage, mask: np.ndarray, least_share: float = LEAST_SHARE
) -> Examples:
    """Take the patches of an image as examples.

    Parameters
    ----------
    encoded
        The image.
    mask
        (H, W) uint8 or uint16, class ids; pixels to ignore have the largest number.
    least_share
        Patches in which no class has this share of the pixels, above 0, are
        left out.

    Raises
    ------
    InputError
        The image is not encoded, or the mask is no array, or of another size or type.
    """
    _check_pair(encoded, mask)
    _check_fits(mask, encoded.image.shape[:2])
    layout, patches = encoded.layout, encoded.patches
    shares = _shares(mask, layout.working_size)
    rows, columns = patches.features.shape[-2:]
    found = torch.stack(
        [
            F.adaptive_avg_pool2d(shares[:, w.top : w.bottom, w.left : w.right], (rows, columns))
            for w in layout.windows
        ]
    )
    best, channels = found.max(1)  # (n, h, w)
    labels = torch.from_numpy(np.unique(mask).astype(np.int64))[channels]
    kept = best >= least_share
    features = F.normalize(patches.features.float().cpu(), dim=1).movedim(1, -1)
    foreground = None if patches.foreground is None else patches.foreground.float().cpu()[kept]
    return Examples(features[kept], labels[kept], best[kept], foreground)


def _check_pair(encoded: object, mask: object) -> None:
    if not isinstance(encoded, EncodedImage) or not isinstance(mask, np.ndarray):
        msg = (
            f"an example is a pair of {type(encoded).__name__} and {type(mask).__name__}, expected "
            "an image from segmenter.encode(image) and its class ids as an array (H, W)"
        )
        raise InputError(msg)


def _check_fits(mask: np.ndarray, size: tuple[int, ...]) -> None:
    if mask.shape != size or mask.dtype not in (np.uint8, np.uint16):
        msg = (
            f"a mask has the shape {mask.shape} and the type {mask.dtype}, expected the shape "
            f"{size} of its image, and class ids as uint8 or uint16, such as "
            "mask.astype(np.uint8)"
        )
        raise InputError(msg)


def _shares(mask: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Shares (K, h, w) float32 of the labels of a mask, in order, in the pixels of another size.

    What is ignored has none.
    """
    labels, ignored = np.unique(mask)[:, None, None], ignore_label(mask.dtype)
    one_hot = torch.from_numpy((mask[None] == labels) & (labels != ignored)).float()
    return F.interpolate(one_hot[None], size, mode="area")[0]
