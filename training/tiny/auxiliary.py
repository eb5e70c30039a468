"""Auxiliary heads for training the backbone, which make it learn shapes early; then discarded.

Trained only on the names of patches, the backbone learns colours in minutes and
shapes hardly at all. So its middle blocks must also predict what the object
that a patch belongs to looks like.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from skimage.measure import regionprops
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.scenes import COLORS, SHAPES

from .batches import MOST_REGIONS, PATCH, SceneBatch
from .vocabulary import OBJECTS

SILHOUETTE = 8  # cells per side
SILHOUETTE_BLOCKS = (2, 3, 4)
"""Blocks whose output must predict the object, counted from 0."""


class Outlines(NamedTuple):
    """The appearance of each region of each scene.

    Attributes
    ----------
    silhouettes
        (B, 1 + MOST_REGIONS, SILHOUETTE ** 2): the region in its own bounding box.
    boxes
        (B, 1 + MOST_REGIONS, 4): centre row and column, height and width in pixels.
    """

    silhouettes: Tensor
    boxes: Tensor


def outline_regions(regions: Tensor) -> Outlines:
    """Compute the outlines of region maps (B, H, W)."""
    silhouettes = torch.zeros(len(regions), 1 + MOST_REGIONS, SILHOUETTE**2)
    boxes = torch.ones(len(regions), 1 + MOST_REGIONS, 4)
    for scene, region_map in enumerate(regions.numpy()):
        for found in regionprops(region_map):
            mask = torch.from_numpy(found.image.astype(np.float32))[None]
            top, left, bottom, right = found.bbox
            silhouettes[scene, found.label] = F.adaptive_avg_pool2d(mask, SILHOUETTE).flatten()
            boxes[scene, found.label] = torch.tensor(
                [(top + bottom) / 2, (left + right) / 2, bottom - top, right - left]
            )
    return Outlines(silhouettes, boxes)


class AuxiliaryHeads(nn.Module):
    """Linear readouts of the backbone's early and middle blocks.

    Parameters
    ----------
    width
        C, number of channels of the vision tower.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pixels = nn.Linear(width, PATCH**2)
        outputs = SILHOUETTE**2 + 4 + len(SHAPES)
        self.objects = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs)) for _ in SILHOUETTE_BLOCKS
        )

    def forward(self, blocks: list[Tensor], batch: SceneBatch, weights: Tensor) -> Tensor:
        """Compute the sum of the auxiliary losses.

        Parameters
        ----------
        blocks
            Output of each block, (B, 1 + N, C), with the class token first.
        batch
            The scenes.
        weights
            (B, N), weight of each patch; 0 excludes it.
        """
        loss = self._pixel_loss(blocks[0][:, 1:].float(), batch.regions)
        regions, _ = batch.patch_regions()
        # the patches that belong to an object, as indices into scenes and patches
        scene, patch = torch.nonzero((regions > 0) & (weights > 0), as_tuple=True)
        if not len(scene):
            return loss
        region, share = regions[scene, patch], weights[scene, patch] / weights[scene, patch].sum()
        targets = _object_targets(batch, scene, patch, region)
        for block, head in zip(SILHOUETTE_BLOCKS, self.objects, strict=True):
            answers = head(blocks[block][:, 1:][scene, patch].float())
            loss = loss + (share * _object_losses(answers, *targets)).sum()
        return loss

    def _pixel_loss(self, tokens: Tensor, regions: Tensor) -> Tensor:
        """Loss of predicting a patch's object pixels; patches with an edge are added once more."""
        # (B, 1, H, W) -> (B, PATCH ** 2, h, w) -> (B, N, PATCH ** 2)
        truth = F.pixel_unshuffle((regions > 0)[:, None].float(), PATCH).flatten(2).transpose(1, 2)
        losses = F.binary_cross_entropy_with_logits(self.pixels(tokens), truth, reduction="none")
        losses, covered = losses.mean(-1), truth.mean(-1)
        edge = ((covered > 0.02) & (covered < 0.98)).float()
        return losses.mean() + (losses * edge).sum() / edge.sum().clamp(min=1)


def _object_targets(
    batch: SceneBatch, scene: Tensor, patch: Tensor, region: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return silhouette, position and size relative to the patch, and shape per object patch."""
    outlines = outline_regions(batch.regions)
    boxes = outlines.boxes[scene, region]
    columns = batch.regions.shape[-1] // PATCH
    centres = PATCH * (torch.stack([patch // columns, patch % columns], 1) + 0.5)
    # offsets and logarithms of sizes, scaled to be of order 1
    places = torch.cat([(boxes[:, :2] - centres) / 32, (boxes[:, 2:].clamp(min=4) / 48).log()], 1)
    shapes = batch.region_classes[scene, region].clamp(max=OBJECTS - 1) // len(COLORS)
    return outlines.silhouettes[scene, region], places, shapes


def _object_losses(answers: Tensor, silhouettes: Tensor, places: Tensor, shapes: Tensor) -> Tensor:
    cells = SILHOUETTE**2
    drawn = F.binary_cross_entropy_with_logits(answers[:, :cells], silhouettes, reduction="none")
    placed = F.smooth_l1_loss(answers[:, cells : cells + 4], places, reduction="none")
    named = F.cross_entropy(answers[:, cells + 4 :], shapes, reduction="none")
    return 1.5 * drawn.mean(1) + 0.2 * placed.mean(1) + 0.3 * named
