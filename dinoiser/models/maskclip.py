"""MaskCLIP: dense features from a CLIP vision transformer, without retraining it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.errors import ModelError
from dinoiser.models.base import PatchFeatures, Scoring, SegmentationModel
from dinoiser.models.catalog import WindowDefaults
from dinoiser.models.text import TextTower

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tokenizer = Callable[[list[str]], Tensor]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PAPER_WINDOWS = WindowDefaults(short_side=448, window=448, stride=224)
GUIDE_BLOCK = -3
"""The block whose second LayerNorm feeds the heads: the paper's layer 10 of 12."""


class DensePatches(NamedTuple):
    """What one pass through the vision tower gives for every patch.

    Attributes
    ----------
    features
        (B, D, h, w), MaskCLIP's dense features, not normalised.
    guide
        (B, C, h, w), the tokens that the heads read: output of the second
        LayerNorm in the third block from the end.
    """

    features: Tensor
    guide: Tensor


class MaskClip(SegmentationModel):
    """MaskCLIP over any open_clip model with a ViT tower.

    Parameters
    ----------
    clip
        An open_clip `CLIP` or `CustomTextCLIP` whose `visual` is open_clip's
        own `VisionTransformer`; put into evaluation mode and frozen.
    tokenizer
        Sentences to token ids (T, context length); CLIP's own by default.
    name, digest, windows
        See `SegmentationModel`.

    Raises
    ------
    ModelError
        The vision tower is of another kind.

    References
    ----------
    Zhou et al., Extract Free Dense Labels from CLIP, ECCV 2022.
    """

    scoring = Scoring(background="class")

    def __init__(
        self,
        clip: Any,  # open_clip has no types
        tokenizer: Tokenizer | None = None,
        *,
        name: str = "maskclip",
        digest: str | None = None,
        windows: WindowDefaults | None = None,
    ) -> None:
        _check_tower(clip.visual)
        self.clip = clip.eval().requires_grad_(False)
        self.visual: Any = clip.visual
        self.text = TextTower(clip, tokenizer)
        self.name = name
        self.digest = digest
        self.windows = windows or PAPER_WINDOWS
        self.patch_size: int = self.visual.patch_size[0]
        self.embedding_dim: int = self.visual.output_dim
        self._mean = torch.tensor(CLIP_MEAN).view(3, 1, 1)
        self._std = torch.tensor(CLIP_STD).view(3, 1, 1)
        self._latest_positions: tuple[tuple[int, int], Tensor | None] = ((0, 0), None)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.visual.conv1.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.visual.conv1.weight.dtype

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, L2-normalised."""
        return self.text.encode(texts)

    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features of pixels (B, 3, H, W), RGB, float in [0, 1].

        Sizes that are no multiples of the patch are padded with black at the
        right and bottom, before normalisation.
        """
        return PatchFeatures(self.encode_patches(pixels).features, None)

    @torch.no_grad()
    def encode_patches(self, pixels: Tensor) -> DensePatches:
        """Dense features and the heads' input, in one pass through the tower.

        Blocks run up to the last but one; the last one runs along its value
        path only, on patches alone.

        Parameters
        ----------
        pixels
            (B, 3, H, W), RGB, float in [0, 1].
        """
        x, guide, grid = self._run_to_last(pixels)
        return DensePatches(to_map(self._dense(x), grid), to_map(guide, grid))

    @torch.no_grad()
    def encode_guide(self, pixels: Tensor) -> Tensor:
        """`DensePatches.guide` alone, (B, C, h, w): the tower runs no further than that."""
        x, grid = self._embed(pixels)
        blocks = self.visual.transformer.resblocks
        for block in blocks[:GUIDE_BLOCK]:
            x, _ = run_block(block, x)
        attended = attend(blocks[GUIDE_BLOCK], x)
        return to_map(blocks[GUIDE_BLOCK].ln_2(attended)[:, 1:], grid)

    def _run_to_last(self, pixels: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Patches (B, h * w, C) before the last block, the heads' input, and the grid (h, w)."""
        x, grid = self._embed(pixels)
        blocks = self.visual.transformer.resblocks
        for block in blocks[:GUIDE_BLOCK]:
            x, _ = run_block(block, x)
        x, guide = run_block(blocks[GUIDE_BLOCK], x)
        for block in blocks[GUIDE_BLOCK + 1 : -1]:
            x, _ = run_block(block, x)
        return x[:, 1:], guide[:, 1:], grid

    def _dense(self, x: Tensor) -> Tensor:
        """Dense features (B, h * w, D) of patches before the last block."""
        x = value_path(self.visual.transformer.resblocks[-1], x)
        return self.visual.ln_post(x) @ self.visual.proj

    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (B, 1 + h * w, C) before the first block, and the grid (h, w)."""
        pixels = pixels.to(self.device, torch.float32)
        padded = pad_to_patches(pixels, self.patch_size)
        normalised = (padded - self._mean.to(self.device)) / self._std.to(self.device)
        patches = self.visual.conv1(normalised.to(self.dtype))  # (B, C, h, w)
        grid = (patches.shape[-2], patches.shape[-1])
        class_token = self.visual.class_embedding.to(self.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], 1)
        return self.visual.ln_pre(tokens + self._positions(grid)), grid

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Position table (1 + h * w, C) of a grid; the latest is kept, windows being alike."""
        kept_grid, table = self._latest_positions
        if table is None or kept_grid != grid or table.device != self.device:
            trained = self.visual.positional_embedding
            table = position_table(trained, self.visual.grid_size, grid).to(self.dtype)
            self._latest_positions = (grid, table)
        return table


def pad_to_patches(pixels: Tensor, patch_size: int) -> Tensor:
    """Pad (B, 3, H, W) with zeros, right and bottom, to multiples of `patch_size`."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % patch_size, 0, -height % patch_size))


def position_table(table: Tensor, trained: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Resize a position table from the grid it was trained on to another one.

    Parameters
    ----------
    table
        (1 + H0 * W0, C), the class token's row first.
    trained, grid
        (H0, W0) and (h, w), in patches.

    Returns
    -------
    Tensor
        (1 + h * w, C); patch rows resized bicubically to the explicit size
        (`align_corners=False`, no antialiasing), the first row untouched.
    """
    if grid == tuple(trained):
        return table
    patches = table[1:].float().unflatten(0, trained).permute(2, 0, 1)[None]  # (1, C, H0, W0)
    resized = F.interpolate(patches, grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], resized[0].flatten(1).T.to(table.dtype)])


def run_block(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """One open_clip block on tokens (B, N, C): its output, and what its MLP was given."""
    x = attend(block, x)
    inner = block.ln_2(x)
    return x + block.ls_2(block.mlp(inner)), inner


def attend(block: Any, x: Tensor) -> Tensor:
    """First half of an open_clip block on tokens (B, N, C): attention and the sum with `x`."""
    # MultiheadAttention puts the batch second. Where that is a mere view, its projections become
    # a product for each token, with a copy of the weights each: 40 times slower in bfloat16.
    normed = block.ln_1(x).transpose(0, 1).contiguous().transpose(0, 1)
    # A key that is not the query object keeps torch's MultiheadAttention off its fused CPU
    # kernel, which builds all N x N weights and is slower than scaled_dot_product_attention.
    return x + block.ls_1(block.attention(normed, normed.view_as(normed), normed))


def value_path(block: Any, x: Tensor) -> Tensor:
    """One open_clip block on tokens (B, N, C) with every token attending to itself alone.

    MaskCLIP's change to the last block: values and output projection remain,
    queries and keys go.
    """
    attention = block.attn
    width = x.shape[-1]
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    x = x + block.ls_1(attention.out_proj(F.linear(block.ln_1(x), weight, bias)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens (B, h * w, C), row-major, as (B, C, h, w); a view."""
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def _check_tower(visual: Any) -> None:
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    plain = isinstance(visual, VisionTransformer) and visual.attn_pool is None
    if not plain or not isinstance(visual.transformer.resblocks[-1], ResidualAttentionBlock):
        msg = (
            f"The vision tower is a {type(visual).__name__}, but dense features need open_clip's "
            "VisionTransformer with plain attention blocks; take a ViT model such as ViT-B-16."
        )
        raise ModelError(msg)
    if len(visual.transformer.resblocks) < -GUIDE_BLOCK:
        msg = (
            f"The vision tower has {len(visual.transformer.resblocks)} blocks, but the heads read "
            f"the third from the end; take a model with at least {-GUIDE_BLOCK} blocks."
        )
        raise ModelError(msg)
