"""The two towers of TIPS v2, read from its file on the Hugging Face hub or its authors' files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.errors import CheckpointError
from dinoiser.models.clip import Transformer
from dinoiser.models.dino_registers import build_register_vit
from dinoiser.models.patch_embedding import embed_patches
from dinoiser.models.published_tower import PublishedTower
from dinoiser.models.teachers.dino import HEAD_WIDTH, FrozenVit
from dinoiser.weights.checkpoint import read_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VISION_PREFIX, TEXT_PREFIX = "vision_encoder.", "text_encoder."
LONGEST_PERIOD = 10_000
"""Of the sines and cosines that tell the text tower where a piece stands, over 2 pi."""


class HeadWidths(NamedTuple):
    """Channels of an attention head in each tower."""

    vision: int = HEAD_WIDTH
    text: int = HEAD_WIDTH


class Towers(NamedTuple):
    """An image tower and the text tower that was trained with it."""

    vision: TipsVisionTower
    text: TipsTextTower


def read_towers(paths: Mapping[str, Path], head_widths: HeadWidths | None = None) -> Towers:
    """Read both towers.

    Parameters
    ----------
    paths
        The hub's single file "towers", or the authors' files "vision" and "text".
    head_widths
        64 each by default, as in the sizes B and L.

    Raises
    ------
    CheckpointError
        A file is unsafe, unreadable, or contains other tensors, which are listed.
    """
    if "towers" in paths:
        vision_path = text_path = paths["towers"]
        vision, text = _split(read_tensors(vision_path), vision_path)
    else:
        vision_path, text_path = paths["vision"], paths["text"]
        vision, text = read_tensors(vision_path), read_tensors(text_path)
    widths = head_widths or HeadWidths()
    return Towers(
        TipsVisionTower(build_register_vit(vision, widths.vision, vision_path)),
        TipsTextTower.from_tensors(text, widths.text, text_path),
    )


def _split(
    tensors: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split the hub's file into weights of the image tower and of the text tower."""
    vision, text = (
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        for prefix in (VISION_PREFIX, TEXT_PREFIX)
    )
    if not vision or not text:
        msg = (
            f"{path} does not contain TIPS v2: expected names under {VISION_PREFIX} and "
            f"{TEXT_PREFIX}, found {sorted(tensors)[:6]}; give the file model.safetensors of "
            "google/tipsv2-b14 or google/tipsv2-l14."
        )
        raise CheckpointError(msg)
    return vision, text


class TipsVisionTower(FrozenVit):
    """The image tower: a ViT like DINOv2's with one register, for pixels as they are.

    Parameters
    ----------
    vit
        The result of `build_register_vit`; set to evaluation mode and frozen.

    Attributes
    ----------
    width
        Number of channels.
    """

    def __init__(self, vit: nn.Module) -> None:
        super().__init__(vit, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.width: int = self.vit.embed_dim

    def encode(self, pixels: Tensor) -> Tensor:
        """Run the tower, in whose last block each patch attends to itself alone.

        Parameters
        ----------
        pixels
            (B, 3, H, W), RGB, float in [0, 1], H and W in full patches.

        Returns
        -------
        Tensor
            Features (B, C, h, w), not normalised.
        """
        x, grid = self._embed(pixels.to(self.device, torch.float32))
        *blocks, last = self.vit.blocks
        for block in blocks:
            x = block(x)
        # the value path: what a patch attends to is its own value, so other tokens may go
        x = x[:, self.vit.num_prefix_tokens :]
        weight, bias = (part.chunk(3)[2] for part in (last.attn.qkv.weight, last.attn.qkv.bias))
        x = x + last.ls1(last.attn.proj(F.linear(last.norm1(x), weight, bias)))
        x = self.vit.norm(x + last.ls2(last.mlp(last.norm2(x))))
        # (B, h * w, C) -> (B, h, w, C) -> (B, C, h, w)
        return x.unflatten(1, grid).permute(0, 3, 1, 2)

    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (B, 2 + h * w, C) before the first block, and the grid (h, w)."""
        patches = embed_patches(self.vit.patch_embed.proj, self.normalise(pixels))  # (B, C, h, w)
        grid = (patches.shape[-2], patches.shape[-1])
        patches = patches.flatten(2).mT + self._positions(grid)
        # the class token already has its position, and the register has none
        first = torch.cat([self.vit.cls_token, self.vit.reg_token], 1)
        return torch.cat([first.expand(len(patches), -1, -1), patches], 1), grid

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions (h * w, C) of patches, resized bilinearly with antialiasing."""
        trained = self.vit.patch_embed.grid_size
        table = self.vit.pos_embed[0].unflatten(0, trained).permute(2, 0, 1)  # (C, H0, W0)
        if grid != tuple(trained):
            table = F.interpolate(
                table[None].float(), grid, mode="bilinear", align_corners=False, antialias=True
            )[0]
        return table.flatten(1).T.to(self.dtype)


class TipsTextTower(PublishedTower):
    """A transformer without a causal mask, whose tokens are averaged.

    Parameters
    ----------
    width
        C, number of channels.
    depth
        Number of blocks.
    hidden
        Number of channels within the MLPs.
    heads
        Number of attention heads.
    vocabulary
        Number of different pieces.
    """

    part = "text tower of TIPS v2"
    blocks_begin = "transformer.resblocks."
    ignored = ("temperature", "temperature_contrastive")  # to compare whole images with texts

    def __init__(self, width: int, depth: int, hidden: int, heads: int, vocabulary: int) -> None:
        super().__init__()
        self.width = width
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.transformer = Transformer(width, depth, heads, hidden / width, nn.ReLU)
        self.ln_final = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (T, C) of sentences of the same length, given the numbers (T, L) of pieces."""
        embedded = self.width**0.5 * self.token_embedding(ids)
        x = embedded + positions(ids.shape[1], self.width).to(embedded)
        return self.ln_final(self.transformer(x)).mean(1)

    @staticmethod
    def _sizes(shape: Callable[[str], torch.Size], head_width: int) -> dict[str, int]:
        vocabulary, width = shape("token_embedding.weight")
        return {
            "width": width,
            "hidden": shape("transformer.resblocks.0.mlp.c_fc.weight")[0],
            "heads": max(1, width // head_width),
            "vocabulary": vocabulary,
        }


def positions(length: int, width: int) -> Tensor:
    """Sines, then cosines, of the places of a sentence: (length, width) float32."""
    count = width // 2
    frequencies = LONGEST_PERIOD ** (-torch.arange(count) / max(1, count - 1))
    angles = torch.arange(length)[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))
