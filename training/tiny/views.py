"""Views of an image for DINO's recipe: crops with changed colours, with their places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Crop(NamedTuple):
    """A kind of views: how many of an image, their side in pixels, their least and largest area."""

    views: int
    side: int
    area: tuple[float, float]


@dataclass(frozen=True)
class Place:
    """Where the views of B images were cut.

    Attributes
    ----------
    centre
        (B, 2), x and y in [-1, 1] over the image, as in `torch.nn.functional.grid_sample`.
    extent
        (B, 2), width and height as shares of the image's; the width of mirrored views is negative.
    """

    centre: Tensor
    extent: Tensor

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, area: tuple[float, float]) -> Self:
        """Draw places of any position, of nearly square shape, half of them mirrored."""
        areas, ratios = rng.uniform(*area, count), np.exp(rng.uniform(-0.25, 0.25, count))
        extent = np.stack([np.sqrt(areas * ratios), np.sqrt(areas / ratios)], 1).clip(max=1)
        centre = rng.uniform(extent - 1, 1 - extent)
        extent[:, 0] *= rng.choice([-1, 1], count)
        return cls(*(torch.from_numpy(value).float() for value in (centre, extent)))

    def cut(self, images: Tensor, side: int) -> Tensor:
        """Cut pixels (B, C, side, side) from images (B, C, H, W)."""
        points = self.patches((side, side))
        return F.grid_sample(images, points, align_corners=False, padding_mode="reflection")

    def patches(self, grid: tuple[int, int]) -> Tensor:
        """Middles (B, h, w, 2) in the images of the cells of a grid (h, w) over the views."""
        middles = [(torch.arange(n) + 0.5) / n * 2 - 1 for n in reversed(grid)]
        points = torch.stack(torch.meshgrid(*middles, indexing="xy"), -1)
        return points * self.extent[:, None, None] + self.centre[:, None, None]

    def shows(self, points: Tensor) -> Tensor:
        """Which points (B, h, w, 2) of the images lie inside the views: (B, h, w), bool."""
        return ((points - self.centre[:, None, None]) / self.extent[:, None, None]).abs().amax(
            -1
        ) <= 1


def change_colours(rng: np.random.Generator, pixels: Tensor) -> Tensor:
    """Change saturation, contrast, brightness and hue of each of (B, 3, H, W), and add noise."""

    def draw(low: float, high: float) -> Tensor:
        factors = rng.uniform(low, high, (len(pixels), 1, 1, 1))
        return torch.from_numpy(factors).float()

    grey = pixels.mean(1, keepdim=True)
    pixels = grey + draw(0.4, 1.4) * (pixels - grey)
    mean = pixels.mean((1, 2, 3), keepdim=True)
    pixels = draw(0.5, 1.3) * (mean + draw(0.6, 1.4) * (pixels - mean))
    # turn the hue by up to 20 degrees, around the axis of greys
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turns = torch.matrix_exp(draw(-0.35, 0.35)[:, 0] * across)
    pixels = torch.einsum("bij,bjhw->bihw", turns, pixels)
    noise = torch.from_numpy(rng.standard_normal(pixels.shape, np.float32))
    return (pixels + draw(0, 0.05) * noise).clamp(0, 1)
