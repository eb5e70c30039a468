"""What the heads learn from: DINO and FOUND, or segments that come with the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.errors import ModelError
from dinoiser.labels import IGNORE
from dinoiser.models.teachers.ground import differs_from_ground

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.models.teachers.dino import Dino
    from dinoiser.models.teachers.found import Found
    from dinoiser.models.teachers.timm_vit import TimmVit

    from .images import Crops

Grid = tuple[int, int]
Part = Literal["values", "keys", "queries"]


class Targets(NamedTuple):
    """A teacher's targets for B images.

    Attributes
    ----------
    features
        (B, C, h, w), float: patches whose cosine is at least `FitSettings.similar` belong
        together.
    objects
        (B, h, w), bool: which patches belong to an object.
    known
        (B, h, w), bool: which patches the teacher says something about.
    """

    features: Tensor
    objects: Tensor
    known: Tensor


class Teacher(Protocol):
    """Decides which patches of a batch belong together, and which to objects.

    Attributes
    ----------
    name
        Name in the heads' metadata.
    segments
        Makes labels (H, W) of an image (H, W, 3) uint8 if the teacher needs them,
        otherwise None. 0 is background, 255 is unknown, any other number is a segment.
    similar
        Its own threshold, which replaces `FitSettings.similar`; None if it has none.
    """

    name: str
    segments: Callable | None
    similar: float | None

    def targets(self, batch: Crops, grid: Grid) -> Targets:
        """Return the targets of a batch, on the student's grid (h, w)."""


class DinoTeacher:
    """The paper's teachers: correlations of DINO's values, and FOUND's objects.

    Parameters
    ----------
    dino
        Its values decide which patches belong together; any ViT works.
    found
        Decides which patches belong to objects.
    name
        Name in the heads' metadata.
    part
        What of the ViT's last block is compared; of a `TimmVit`, only values can be.
    """

    segments: Callable | None = None

    similar: float | None = None

    def __init__(
        self, dino: Dino | TimmVit, found: Found, name: str = "dino", part: Part = "values"
    ) -> None:
        self.dino, self.found, self.name = dino, found, name
        self._compared = getattr(dino, part)

    def targets(self, batch: Crops, grid: Grid) -> Targets:
        """Return the targets of a batch, on the student's grid (h, w)."""
        features = self._compared(on_grid(batch.pixels, grid, self.dino.patch_size))
        objects = self.found.patch_probabilities(batch.pixels, grid) > 0.5
        return Targets(features, objects, torch.ones_like(objects))


class KeyTeacher:
    """A ViT alone: correlations of its keys, and as objects what differs from the ground.

    Parameters
    ----------
    dino
        Its keys should have a mean near zero.
    name, similar
        See `Teacher`.
    """

    segments: Callable | None = None

    def __init__(self, dino: Dino, name: str, similar: float | None = None) -> None:
        self.dino, self.name, self.similar = dino, name, similar

    def targets(self, batch: Crops, grid: Grid) -> Targets:
        """Return the targets of a batch, on the student's grid (h, w)."""
        keys = self.dino.keys(on_grid(batch.pixels, grid, self.dino.patch_size))
        objects = differs_from_ground(keys)
        return Targets(keys, objects, torch.ones_like(objects))


def on_grid(pixels: Tensor, grid: Grid, patch_size: int) -> Tensor:
    """Resize pixels (B, 3, H, W) bilinearly to a grid (h, w) of patches of another size.

    Pixels that already have this size are returned unchanged. The image must consist of
    full patches of the student, so that both grids cover the same area.
    """
    size = (grid[0] * patch_size, grid[1] * patch_size)
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


class SegmentTeacher:
    """Segments that come with the images: those of drawn scenes, or those found in pixels.

    Patches belong together if most of their pixels are in the same segment. All segments
    but 0 are objects. Patches of which most pixels are 255 (ignore) take no part.
    """

    similar: float | None = None

    def __init__(self, name: str, segments: Callable | None = None) -> None:
        self.name, self.segments = name, segments

    def targets(self, batch: Crops, grid: Grid) -> Targets:
        """Return the targets of a batch with labels, on the student's grid (h, w)."""
        if batch.labels is None:
            msg = f"The teacher {self.name!r} needs images with segments."
            raise ModelError(msg)
        height, width = batch.labels.shape[1:]
        # pad to full patches with background: the student pads with black
        patch = -(-height // grid[0])
        labels = F.pad(batch.labels, (0, patch * grid[1] - width, 0, patch * grid[0] - height))
        # (B, H, W) -> (B, h, w, patch, patch) -> (B, h, w, patch * patch)
        pixels = labels.unfold(1, patch, patch).unfold(2, patch, patch).flatten(3)
        most_frequent = pixels.mode(-1).values.long()  # (B, h, w)
        # one-hot vectors: the cosine is 1 within a segment and 0 between segments
        features = F.one_hot(most_frequent).permute(0, 3, 1, 2).float()
        known = most_frequent != IGNORE
        return Targets(features, (most_frequent > 0) & known, known)
