"""DINO v1 vision transformers: keys and values of the last block, per patch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, ModelError
from dinoiser.models.device import to_device
from dinoiser.models.maskclip import pad_to_patches
from dinoiser.models.patch_embedding import embed_patches
from dinoiser.weights.checkpoint import load_into, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HEAD_WIDTH = 64
"""Channels of an attention head in all of DINO's models."""
SIZE_MARGIN = 0.1
"""Added to the number of patches per side when scaling the position table, as DINO does."""


class FrozenVit:
    """A frozen ViT of timm.

    Parameters
    ----------
    vit
        The network; set to evaluation mode.
    mean, std
        Of the images that it was trained on, one number per channel; ImageNet's by default.
    """

    def __init__(
        self,
        vit: Any,  # timm's types do not name its blocks
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        self.vit = vit.eval().requires_grad_(False)
        self.patch_size: int = vit.patch_embed.proj.kernel_size[0]
        self._mean = torch.tensor(mean).view(3, 1, 1)
        self._std = torch.tensor(std).view(3, 1, 1)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.vit.patch_embed.proj.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.vit.patch_embed.proj.weight.dtype

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the weights."""
        self.vit.to(device, dtype)
        return self

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise pixels (B, 3, H, W), float32 in [0, 1], in the dtype of the weights."""
        mean, std = (to_device(x, self.device) for x in (self._mean, self._std))
        normalised = (pixels - mean) / std
        return normalised.to(self.dtype)


class Dino(FrozenVit):
    """A DINO-style ViT as a source of dense features.

    Parameters
    ----------
    vit
        timm's `VisionTransformer` with a class token, a position table and plain
        attention; set to evaluation mode and frozen.

    Raises
    ------
    ModelError
        The network is of another kind.

    References
    ----------
    Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021.
    """

    def __init__(self, vit: Any) -> None:  # timm's types do not name its blocks
        _check_kind(vit)
        super().__init__(vit)

    @classmethod
    def load(cls, path: str | Path, heads: int | None = None) -> Self:
        """Read a ViT from a file with DINO's names for the weights; its sizes follow from the file.

        Parameters
        ----------
        path
            A safetensors file, or one written by ``torch.save``.
        heads
            Number of attention heads; by default one per 64 channels.

        Raises
        ------
        CheckpointError
            The file is unsafe, unreadable, or holds other tensors.
        """
        return cls(build_vit(read_tensors(path), heads, path))

    @torch.no_grad()
    def queries(self, pixels: Tensor) -> Tensor:
        """Compute queries (B, C, h, w), otherwise as `keys`."""
        return self._last_projection(pixels, 0)

    @torch.no_grad()
    def keys(self, pixels: Tensor) -> Tensor:
        """Keys (B, C, h, w) of pixels (B, 3, H, W), RGB, float in [0, 1]; not normalised."""
        return self._last_projection(pixels, 1)

    @torch.no_grad()
    def values(self, pixels: Tensor) -> Tensor:
        """Values (B, C, h, w) of pixels (B, 3, H, W), RGB, float in [0, 1]; not normalised.

        Cosines between patches' values are the correlations of CLIP-DINOiser's teacher.
        """
        return self._last_projection(pixels, 2)

    def _last_projection(self, pixels: Tensor, part: int) -> Tensor:
        """Return queries, keys or values (part 0, 1, 2) of the last block, heads concatenated."""
        # a key or value belongs to one token, so the last block's attention is not needed
        x, grid = self._embed(pixels)
        for block in self.vit.blocks[:-1]:
            x = block(x)
        last = self.vit.blocks[-1]
        weight, bias = last.attn.qkv.weight.chunk(3)[part], last.attn.qkv.bias.chunk(3)[part]
        projected = F.linear(last.norm1(x)[:, 1:], weight, bias)
        # (B, h * w, C) -> (B, h, w, C) -> (B, C, h, w)
        return projected.unflatten(1, grid).permute(0, 3, 1, 2)

    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (B, 1 + h * w, C) before the first block, and the grid (h, w)."""
        pixels = pad_to_patches(pixels.to(self.device, torch.float32), self.patch_size)
        patches = embed_patches(self.vit.patch_embed.proj, self.normalise(pixels))  # (B, C, h, w)
        grid = (patches.shape[-2], patches.shape[-1])
        class_token = self.vit.cls_token.expand(len(patches), 1, -1)
        # (B, C, h, w) -> (B, C, h * w) -> (B, h * w, C), behind the class token
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], 1)
        positions = scaled_position_table(self.vit.pos_embed[0], grid)
        return tokens + positions.to(self.dtype), grid


def scaled_position_table(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a square position table the way DINO's own code does.

    Parameters
    ----------
    table
        (1 + n * n, C), with the class token's row first.
    grid
        (h, w), in patches.

    Returns
    -------
    Tensor
        (1 + h * w, C). Patch rows are resized bicubically without antialiasing, and
        sample positions follow from the scale (h + 0.1) / n, not from h / n.
    """
    side = math.isqrt(len(table) - 1)
    if grid == (side, side):
        return table
    patches = table[1:].float().unflatten(0, (side, side)).permute(2, 0, 1)[None]  # (1, C, n, n)
    # a scale, not a size: interpolate then samples by this factor, as in the published code
    scales = [(length + SIZE_MARGIN) / side for length in grid]
    resized = F.interpolate(patches, scale_factor=scales, mode="bicubic", align_corners=False)
    # (C, h, w) -> (C, h * w) -> (h * w, C)
    return torch.cat([table[:1], resized[0].flatten(1).T.to(table.dtype)])


def build_vit(
    tensors: Mapping[str, Tensor], heads: int | None = None, path: str | Path | None = None
) -> Any:
    """Build timm's ViT for weights with DINO's names, and load them.

    Raises
    ------
    CheckpointError
        The weights are not those of a plain ViT.
    """
    from timm.models.vision_transformer import VisionTransformer

    kernel, positions = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    if kernel is None or kernel.ndim != 4 or positions is None or positions.ndim != 3:
        msg = (
            f"{path or 'The file'} does not contain a vision transformer of DINO: expected "
            f"patch_embed.proj.weight and pos_embed, found {sorted(tensors)[:6]}; give one of the "
            "published backbones, such as dino_vitbase16_pretrain.pth."
        )
        raise CheckpointError(msg)
    width, patch_size = kernel.shape[0], kernel.shape[-1]
    vit = VisionTransformer(
        img_size=patch_size * math.isqrt(positions.shape[1] - 1),
        patch_size=patch_size,
        embed_dim=width,
        depth=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        num_heads=heads or max(1, width // HEAD_WIDTH),
        num_classes=0,
    )
    load_into(vit, tensors, path)
    return vit


def _check_kind(vit: Any) -> None:
    from timm.models.vision_transformer import Block, VisionTransformer

    plain = isinstance(vit, VisionTransformer) and vit.num_prefix_tokens == 1
    if not plain or vit.pos_embed is None or not isinstance(vit.blocks[-1], Block):
        msg = (
            f"The teacher is a {type(vit).__name__}, but a timm VisionTransformer with one class "
            "token, a position table and plain blocks is needed; choose one such as "
            "vit_base_patch16_224.dino."
        )
        raise ModelError(msg)
