"""FOUND: find patches that belong to an object, by a linear map of DINO's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.models.teachers.dino import Dino
from dinoiser.weights.checkpoint import load_into, read_tensors

if TYPE_CHECKING:
    from pathlib import Path


class Found:
    """Objectness from a DINO ViT and a 1x1 convolution.

    Parameters
    ----------
    dino
        Source of keys; the official decoder expects the ViT-S/8 of 300 epochs.
    decoder
        1x1 convolution from the ViT's width to one channel; frozen.

    References
    ----------
    Siméoni et al., Unsupervised Object Localization: Observing the Background to
    Discover Objects, CVPR 2023.
    """

    def __init__(self, dino: Dino, decoder: nn.Conv2d) -> None:
        self.dino = dino
        self.decoder = decoder.eval().requires_grad_(False).to(dino.device, dino.dtype)

    @classmethod
    def load(cls, backbone: str | Path, decoder: str | Path, heads: int | None = None) -> Self:
        """Read the backbone and the decoder from their files.

        Raises
        ------
        CheckpointError
            A file is unsafe, unreadable or does not fit.
        """
        dino = Dino.load(backbone, heads)
        convolution = nn.Conv2d(dino.vit.embed_dim, 1, 1)
        load_into(convolution, read_tensors(decoder), decoder)
        return cls(dino, convolution)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the weights."""
        self.dino.to(device, dtype)
        self.decoder.to(device, dtype)
        return self

    @torch.no_grad()
    def objectness(self, pixels: Tensor) -> Tensor:
        """Logits (B, h, w) of pixels (B, 3, H, W), RGB, float in [0, 1]; positive = object."""
        return self.decoder(self.dino.keys(pixels))[:, 0].float()

    def patch_probabilities(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Probabilities (B, h, w) on the grid (h, w) of another model.

        Above 0.5 means object. The caller pads the pixels to full patches of that model, so
        that both grids cover the same area. The map is resized bilinearly without
        antialiasing; for half as many patches per side, that is the mean of 2 x 2.
        """
        probabilities = self.objectness(pixels).sigmoid()[:, None]
        # probabilities are resized, not logits, and not smoothed: both as in the published code
        return F.interpolate(probabilities, grid, mode="bilinear", align_corners=False)[:, 0]

    def mask(self, pixels: Tensor) -> Tensor:
        """Objects in pixels (B, 3, H, W) as (B, H, W) bool: enlarged logits above 0."""
        height, width = pixels.shape[-2:]
        logits = self.objectness(pixels)[:, None]
        # here logits are enlarged, by the size of a patch, and the padding is cut off at the end
        enlarged = F.interpolate(
            logits, scale_factor=self.dino.patch_size, mode="bilinear", align_corners=False
        )
        return enlarged[:, 0, :height, :width] > 0
