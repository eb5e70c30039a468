"""NACLIP: dense features from a CLIP whose last block attends to similar and to near patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from dinoiser.models.base import Scoring
from dinoiser.models.catalog import WindowDefaults
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.teachers.dino import scaled_position_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# CLIP's own mean and deviation, as NACLIP rounds them for pixels from 0 to 255
MEAN = (122.771, 116.746, 104.094)
STD = (68.501, 66.632, 70.323)
NACLIP_WINDOWS = WindowDefaults(short_side=336, window=224, stride=112)
WEIGHTS_AT_ONCE = 2**22
"""Values of neighbourhoods in memory at a time, 16 MB in float32."""


class NaClip(MaskClip):
    """NACLIP over any open_clip model with a ViT tower.

    Parameters
    ----------
    clip, **described
        See `MaskClip`.
    sigma
        Deviation of the neighbourhood, in patches.

    Notes
    -----
    In the last block, patches attend to those with similar keys, and the more
    the nearer they are; its residual sum and its MLP are left out.

    References
    ----------
    Hajimiri, Ben Ayed and Dolz, Pay Attention to Your Neighbours: Training-Free
    Open-Vocabulary Semantic Segmentation, WACV 2025.
    """

    scoring = Scoring(
        temperature=40.0,
        background="class",
        least_background=0.1,
        enlarged="phrases",
        padded=False,
        dilations=(8, 16),
    )

    def __init__(
        self, clip: Any, sigma: float = 5.0, *, name: str = "naclip", **described: Any
    ) -> None:
        super().__init__(clip, name=name, **{"windows": NACLIP_WINDOWS, **described})
        self.sigma = sigma
        self._mean = torch.tensor(MEAN, dtype=torch.float32).view(3, 1, 1) / 255
        self._std = torch.tensor(STD, dtype=torch.float32).view(3, 1, 1) / 255

    def _fit_to_patches(self, pixels: Tensor) -> Tensor:
        # the rest of a side is left out, but for images without a single patch
        height, width = pixels.shape[-2:]
        size = self.patch_size
        padded = F.pad(pixels, (0, max(0, size - width), 0, max(0, size - height)))
        return padded[..., : padded.shape[-2] // size * size, : padded.shape[-1] // size * size]

    def _resize_positions(self, trained: Tensor, grid: tuple[int, int]) -> Tensor:
        return scaled_position_table(trained, grid)  # the code of DINO, which NACLIP shares

    def _run_last(self, block: Any, x: Tensor, grid: tuple[int, int]) -> Tensor:
        attention, heads = block.attn, block.attn.num_heads
        width = x.shape[-1]
        # in_proj stacks queries, which are not used, keys and values
        weight, bias = attention.in_proj_weight[width:], attention.in_proj_bias[width:]
        projected = F.linear(block.ln_1(x), weight, bias).chunk(2, -1)
        # (B, 1 + N, C) -> (B, 1 + N, heads, C / heads) -> (B, heads, 1 + N, C / heads)
        keys, values = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in projected)
        neighbourhoods = [some.to(keys) for some in neighbourhood(grid, self.sigma)]
        queries = keys[:, :, 1:].split([len(some) for some in neighbourhoods], 2)
        attended = [
            F.scaled_dot_product_attention(some, keys, values, attn_mask=near)
            for some, near in zip(queries, neighbourhoods, strict=True)
        ]
        # (B, heads, N, C / heads) -> (B, N, heads, C / heads) -> (B, N, C)
        joined: Tensor = attention.out_proj(torch.cat(attended, 2).transpose(1, 2).flatten(2))
        return joined


def neighbourhood(grid: tuple[int, int], sigma: float) -> Iterator[Tensor]:
    """Yield how near the patches of a grid are to each other, some rows of the grid at a time.

    Parameters
    ----------
    grid
        (h, w), in patches.
    sigma
        Deviation of the Gaussian, in patches.

    Yields
    ------
    Tensor
        (n * w, 1 + h * w) in [0, 1], 1 for a patch and itself. The first column
        is the class token's, which is near to none.
    """
    height, width = grid
    down, across = (_gaussians(length, sigma) for length in grid)
    for rows in down.split(max(1, WEIGHTS_AT_ONCE // (height * width * width))):
        # the Gaussian of two axes is the product of those of each
        yield F.pad(torch.kron(rows, across), (1, 0))


def _gaussians(length: int, sigma: float) -> Tensor:
    """Gaussian (length, length) of the distances between the places of an axis."""
    places = torch.arange(length)
    return torch.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
