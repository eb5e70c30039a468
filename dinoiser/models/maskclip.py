"""MaskCLIP: dense features from a CLIP vision transformer, without retraining it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.errors import ModelError
from dinoiser.models.attention import self_attention
from dinoiser.models.base import PatchFeatures, Scoring, SegmentationModel
from dinoiser.models.catalog import WindowDefaults
from dinoiser.models.clip import VisionTower
from dinoiser.models.device import to_device
from dinoiser.models.linear import mlp
from dinoiser.models.patch_embedding import embed_patches
from dinoiser.models.text import TextTower

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tokenizer = Callable[[list[str]], Tensor]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PAPER_WINDOWS = WindowDefaults(short_side=448, window=448, stride=224)
GuideBlock = int | Literal["final"]
GUIDE_BLOCK = -3
"""The block whose second LayerNorm feeds the heads: the paper's layer 10 of 12."""


class DensePatches(NamedTuple):
    """The result of one pass through the vision tower, for every patch.

    Attributes
    ----------
    features
        (B, D, h, w), MaskCLIP's dense features, not normalised.
    guide
        (B, C, h, w), the tokens that the heads read: output of the second
        LayerNorm in a block, the third from the end by default.
    """

    features: Tensor
    guide: Tensor


class MaskClip(SegmentationModel):
    """MaskCLIP over any open_clip model with a ViT tower.

    Parameters
    ----------
    clip
        A `Clip`, or an open_clip `CLIP` or `CustomTextCLIP` whose `visual` is
        open_clip's own `VisionTransformer`; set to evaluation mode and frozen.
    tokenizer
        Sentences to token ids (T, context length); CLIP's own by default.
    name, digest, windows
        See `SegmentationModel`.

    Attributes
    ----------
    guide_block
        The block that heads read, counted from the end as in the official
        `feats_idx`, or "final" for the dense features themselves.

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
        self.guide_block: GuideBlock = GUIDE_BLOCK
        self.patch_size: int = self.visual.patch_size[0]
        self.embedding_dim: int = self.visual.output_dim
        self._mean = torch.tensor(CLIP_MEAN, dtype=torch.float32).view(3, 1, 1)
        self._std = torch.tensor(CLIP_STD, dtype=torch.float32).view(3, 1, 1)
        self._latest_positions: tuple[tuple[int, int], Tensor | None] = ((0, 0), None)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
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

        Sizes that are not multiples of the patch are padded with black at the
        right and bottom, before normalisation.
        """
        return PatchFeatures(self.encode_patches(pixels).features, None)

    @torch.no_grad()
    def encode_patches(self, pixels: Tensor) -> DensePatches:
        """Dense features and the heads' input, in one pass through the tower.

        All blocks but the last run normally. The last runs along its value
        path only, on patches without the class token.

        Parameters
        ----------
        pixels
            (B, 3, H, W), RGB, float in [0, 1].
        """
        x, guide, grid = self._run_to_last(pixels)
        return self._patches(x, guide, grid)

    @torch.no_grad()
    def encode_guide(self, pixels: Tensor) -> Tensor:
        """`DensePatches.guide` only, (B, C, h, w), without running the rest of the tower."""
        if self.guide_block == "final":
            return self.encode_patches(pixels).guide
        x, grid = self._embed(pixels)
        blocks = self.visual.transformer.resblocks
        for block in blocks[: self.guide_block]:
            x, _ = run_block(block, x)
        return to_map(guide_of(blocks[self.guide_block], x), grid)

    def read_guide_at(self, block: GuideBlock) -> None:
        """Choose the block that heads read, see `guide_block`.

        Raises
        ------
        ModelError
            The tower has no such block.
        """
        count = len(self.visual.transformer.resblocks)
        if block != "final" and not -count <= block < 0:
            msg = (
                f"The guide block is {block!r}, but the vision tower has {count} blocks: expected "
                f"a number from -{count} to -1, counted from the end, or 'final'."
            )
            raise ModelError(msg)
        self.guide_block = block

    @property
    def guide_width(self) -> int:
        """Number of channels that heads read."""
        width: int = self.visual.conv1.out_channels
        return self.embedding_dim if self.guide_block == "final" else width

    def _run_to_last(self, pixels: Tensor) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
        """Tokens (B, 1 + h * w, C) before the last block, the heads' input, and the grid (h, w).

        The heads' input (B, h * w, C) is None if it comes after the last block.
        """
        x, grid = self._embed(pixels)
        *blocks, last = self.visual.transformer.resblocks
        guide = None
        for place, block in enumerate(blocks, start=-len(blocks) - 1):
            x, inner = run_block(block, x)
            if place == self.guide_block:
                guide = inner[:, 1:]  # heads do not read the class token
        if self.guide_block == -1:
            guide = guide_of(last, x)
        return x, guide, grid

    def _patches(self, x: Tensor, guide: Tensor | None, grid: tuple[int, int]) -> DensePatches:
        features = self._dense(x, grid)
        return DensePatches(features, features if guide is None else to_map(guide, grid))

    def _dense(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Dense features (B, D, h, w) of tokens (B, 1 + h * w, C) before the last block."""
        x = self._run_last(self.visual.transformer.resblocks[-1], x, grid)
        return to_map(self.visual.ln_post(x) @ self.visual.proj, grid)

    def _last_keys(self, x: Tensor) -> Tensor:
        """Keys (B, h * w, C) of patches in the last block, from the tokens before it."""
        last, width = self.visual.transformer.resblocks[-1], x.shape[-1]
        some = slice(width, 2 * width)  # the rows are queries, keys, values
        weight, bias = last.attn.in_proj_weight[some], last.attn.in_proj_bias[some]
        return F.linear(last.ln_1(x[:, 1:]), weight, bias)

    def _run_last(self, block: Any, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches (B, h * w, C) after the last block, from the tokens (B, 1 + h * w, C) before."""
        del grid  # a patch attends only to itself, wherever it is
        return value_path(block, x[:, 1:])

    def _fit_to_patches(self, pixels: Tensor) -> Tensor:
        """Make the sides of pixels (B, 3, H, W) multiples of the patch."""
        # padded before normalisation, as published: padding looks black, not grey
        return pad_to_patches(pixels, self.patch_size)

    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (B, 1 + h * w, C) before the first block, and the grid (h, w)."""
        fitted = self._fit_to_patches(pixels.to(self.device, torch.float32))
        mean, std = (to_device(x, self.device) for x in (self._mean, self._std))
        normalised = (fitted - mean) / std
        patches = embed_patches(self.visual.conv1, normalised.to(self.dtype))  # (B, C, h, w)
        grid = (patches.shape[-2], patches.shape[-1])
        class_token = self.visual.class_embedding.to(self.dtype).expand(len(patches), 1, -1)
        # (B, C, h, w) -> (B, C, h * w) -> (B, h * w, C), behind the class token
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], 1)
        return self.visual.ln_pre(tokens + self._positions(grid)), grid

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Position table (1 + h * w, C) of a grid; the latest is kept, as most windows match."""
        kept_grid, table = self._latest_positions
        if table is None or kept_grid != grid or table.device != self.device:
            table = self._resize_positions(self.visual.positional_embedding, grid).to(self.dtype)
            self._latest_positions = (grid, table)
        return table

    def _resize_positions(self, trained: Tensor, grid: tuple[int, int]) -> Tensor:
        """Position table (1 + h * w, C) of a grid (h, w), from the one that was trained."""
        return position_table(trained, self.visual.grid_size, grid)


def pad_to_patches(pixels: Tensor, patch_size: int) -> Tensor:
    """Pad (B, 3, H, W) with zeros, right and bottom, to multiples of `patch_size`."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % patch_size, 0, -height % patch_size))


def stretch_to_patches(pixels: Tensor, patch_size: int) -> Tensor:
    """Stretch (B, 3, H, W) bicubically to the next multiples of `patch_size`."""
    # rounded up to full patches: -(-a // b) is the ceiling of a / b
    size = [-(-side // patch_size) * patch_size for side in pixels.shape[-2:]]
    if list(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bicubic", align_corners=False)


def position_table(table: Tensor, trained: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Resize a position table from the grid it was trained on to another one.

    Parameters
    ----------
    table
        (1 + H0 * W0, C), with the class token's row first.
    trained, grid
        (H0, W0) and (h, w), in patches.

    Returns
    -------
    Tensor
        (1 + h * w, C): patch rows resized bicubically to an explicit size
        (`align_corners=False`, no antialiasing), the first row unchanged.
    """
    if grid == tuple(trained):
        return table
    patches = table[1:].float().unflatten(0, trained).permute(2, 0, 1)[None]  # (1, C, H0, W0)
    resized = F.interpolate(patches, grid, mode="bicubic", align_corners=False)
    # (C, h, w) -> (C, h * w) -> (h * w, C)
    return torch.cat([table[:1], resized[0].flatten(1).T.to(table.dtype)])


def run_block(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run an open_clip block on tokens (B, N, C); return its output and the input of its MLP."""
    x = attend(block, x)
    inner = block.ln_2(x)
    return x + block.ls_2(mlp(block.mlp, inner)), inner


def guide_of(block: Any, x: Tensor) -> Tensor:
    """Input (B, h * w, C) of an open_clip block's MLP, of the patches among tokens (B, N, C)."""
    inner: Tensor = block.ln_2(attend(block, x))[:, 1:]
    return inner


def attend(block: Any, x: Tensor) -> Tensor:
    """Run the first half of an open_clip block on tokens (B, N, C): `x` plus its attention."""
    return x + block.ls_1(self_attention(block.attn, block.ln_1(x)))


def value_path(block: Any, x: Tensor) -> Tensor:
    """Run an open_clip block on tokens (B, N, C), each attending only to itself.

    This is MaskCLIP's change to the last block: values and output projection
    are kept, queries and keys are dropped.
    """
    attention = block.attn
    width = x.shape[-1]
    # in_proj stacks queries, keys and values: take the last third
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    x = x + block.ls_1(attention.out_proj(F.linear(block.ln_1(x), weight, bias)))
    return x + block.ls_2(mlp(block.mlp, block.ln_2(x)))


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """View tokens (B, h * w, C), row-major, as (B, C, h, w)."""
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def _check_tower(visual: Any) -> None:
    if not isinstance(visual, VisionTower) and not _is_plain_in_open_clip(visual):
        msg = (
            f"The vision tower is a {type(visual).__name__}, but dense features need open_clip's "
            "VisionTransformer with plain attention blocks; choose a ViT such as ViT-B-16."
        )
        raise ModelError(msg)
    if len(visual.transformer.resblocks) < -GUIDE_BLOCK:
        msg = (
            f"The vision tower has {len(visual.transformer.resblocks)} blocks, but the heads read "
            f"the third from the end; choose a model with at least {-GUIDE_BLOCK} blocks."
        )
        raise ModelError(msg)


def _is_plain_in_open_clip(visual: Any) -> bool:
    if "open_clip" not in sys.modules:  # then the tower is not one of its objects
        return False
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None:
        return False
    return isinstance(visual.transformer.resblocks[-1], ResidualAttentionBlock)
