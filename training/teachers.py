"""Whom the heads learn from: DINO and FOUND, or segments that come with the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.models.teachers.dino import Dino
    from dinoiser.models.teachers.found import Found
    from dinoiser.models.teachers.timm_vit import TimmVit

    from .images import Crops

Grid = tuple[int, int]


class Targets(NamedTuple):
    """What a teacher says about B images.

    Attributes
    ----------
    features
        (B, C, h, w), float: patches whose cosine is at least `losses.SIMILAR` belong together.
    objects
        (B, h, w), bool: which patches belong to an object.
    """

    features: Tensor
    objects: Tensor


class Teacher(Protocol):
    """Tells which patches of a batch belong together and to objects.

    Attributes
    ----------
    name
        For the heads' metadata.
    segments
        Makes labels (H, W) of an image (H, W, 3) uint8 where the teacher needs them;
        else None. 0 is background, any other number a segment of its own.
    """

    name: str
    segments: Callable | None

    def targets(self, batch: Crops, grid: Grid) -> Targets:
        """Tell about a batch, on the grid (h, w) of the student."""


class DinoTeacher:
    """The paper's teachers: correlations of DINO's values, and FOUND's objects.

    Parameters
    ----------
    dino
        Its values tell which patches belong together; any ViT will do.
    found
        Tells which patches belong to objects.
    name
        For the heads' metadata.
    """

    segments: Callable | None = None

    def __init__(self, dino: Dino | TimmVit, found: Found, name: str = "dino") -> None:
        self.dino, self.found, self.name = dino, found, name

    @torch.inference_mode()
    def targets(self, batch: Crops, grid: Grid) -> Targets:
        """Tell about a batch, on the grid (h, w) of the student."""
        features = self.dino.values(on_grid(batch.pixels, grid, self.dino.patch_size))
        return Targets(features, self.found.patch_probabilities(batch.pixels, grid) > 0.5)


def on_grid(pixels: Tensor, grid: Grid, patch_size: int) -> Tensor:
    """Resize pixels (B, 3, H, W) bilinearly to a grid (h, w) of patches of another size.

    They stay as they are where (H, W) is that already. The image has to have full
    patches of the student, so that both grids cover the same.
    """
    size = (grid[0] * patch_size, grid[1] * patch_size)
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


class SegmentTeacher:
    """Segments that come with the images: drawn scenes' own, or such as are found in pixels.

    Patches belong together that have most of their pixels in the same segment; all
    segments but 0 are objects.
    """

    def __init__(self, name: str, segments: Callable | None = None) -> None:
        self.name, self.segments = name, segments

    def targets(self, batch: Crops, grid: Grid) -> Targets:
        """Tell about a batch with labels, on the grid (h, w) of the student."""
        if batch.labels is None:
            msg = f"The teacher {self.name!r} needs images with segments."
            raise ModelError(msg)
        height, width = batch.labels.shape[1:]
        patch = -(-height // grid[0])
        labels = F.pad(batch.labels, (0, patch * grid[1] - width, 0, patch * grid[0] - height))
        pixels = labels.unfold(1, patch, patch).unfold(2, patch, patch).flatten(3)
        most_frequent = pixels.mode(-1).values.long()  # (B, h, w)
        features = F.one_hot(most_frequent).permute(0, 3, 1, 2).float()
        return Targets(features, most_frequent > 0)
