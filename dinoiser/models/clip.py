"""A plain CLIP: a ViT and a causal text tower, with open_clip's names for weights and parts.

open_clip's own `CLIP` computes the same, but importing it brings torchvision, timm and torch's
compiler along, which takes longer than labelling an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dinoiser.models.attention import self_attention

if TYPE_CHECKING:
    from collections.abc import Mapping


class VisionConfig(NamedTuple):
    """The part `vision_cfg` of a configuration, with open_clip's defaults."""

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    head_width: int = 64
    mlp_ratio: float = 4.0


class TextConfig(NamedTuple):
    """The part `text_cfg` of a configuration, with open_clip's defaults."""

    context_length: int = 77
    vocab_size: int = 49408
    width: int = 512
    layers: int = 12
    heads: int = 8
    mlp_ratio: float = 4.0


def is_plain(config: Mapping[str, Any]) -> bool:
    """Tell whether `Clip` can be built from a configuration; open_clip's CLIP has more options."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    return (
        config.keys() <= {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
        and vision.keys() <= set(VisionConfig._fields)
        and text.keys() <= set(TextConfig._fields)
        # the layers of a ResNet are a list, and sides may be pairs
        and all(isinstance(value, int | float) for value in (*vision.values(), *text.values()))
    )


class Clip(nn.Module):
    """The towers of a CLIP, for weights to be loaded into: they begin without useful values.

    `MaskClip` runs the vision tower and `TextTower` the text tower.

    Parameters
    ----------
    embed_dim
        Length of the vectors in which images and texts are compared.
    vision_cfg, text_cfg
        The fields of `VisionConfig` and `TextConfig`.
    quick_gelu
        Whether the weights were trained with `QuickGelu`.
    """

    text_pool_type = "argmax"  # sentences are read at their end token, the largest id

    def __init__(
        self,
        embed_dim: int,
        vision_cfg: Mapping[str, Any],
        text_cfg: Mapping[str, Any],
        quick_gelu: bool = False,
    ) -> None:
        super().__init__()
        activation = QuickGelu if quick_gelu else nn.GELU
        self.visual = VisionTower(VisionConfig(**vision_cfg), embed_dim, activation)
        text = TextConfig(**text_cfg)
        self.context_length = text.context_length
        self.vocab_size = text.vocab_size
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.positional_embedding = _weights(text.context_length, text.width)
        self.transformer = Transformer(
            text.width, text.layers, text.heads, text.mlp_ratio, activation
        )
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = _weights(text.width, embed_dim)
        self.logit_scale = _weights()
        # added to the attention: no token sees a later one
        later = torch.full((text.context_length, text.context_length), -torch.inf).triu(1)
        self.register_buffer("attn_mask", later, persistent=False)


class VisionTower(nn.Module):
    """The parts of a ViT with a class token; `MaskClip` decides how they are run."""

    def __init__(self, config: VisionConfig, output_dim: int, activation: type[nn.Module]) -> None:
        super().__init__()
        side, width = config.image_size // config.patch_size, config.width
        self.patch_size = (config.patch_size, config.patch_size)
        self.grid_size = (side, side)
        self.output_dim = output_dim
        self.conv1 = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = _weights(width)
        self.positional_embedding = _weights(1 + side * side, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(
            width, config.layers, width // config.head_width, config.mlp_ratio, activation
        )
        self.ln_post = nn.LayerNorm(width)
        self.proj = _weights(width, output_dim)


class Transformer(nn.Module):
    """A row of blocks."""

    def __init__(
        self, width: int, layers: int, heads: int, mlp_ratio: float, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            Block(width, heads, int(width * mlp_ratio), activation) for _ in range(layers)
        )

    def get_cast_dtype(self) -> torch.dtype:
        """Return the number format of the blocks' weights."""
        return next(self.resblocks.parameters()).dtype

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Run all blocks on tokens (B, N, C), with a mask (N, N) added to the attention."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


class Block(nn.Module):
    """Attention and a two-layer network, each behind a LayerNorm and added to its input."""

    def __init__(
        self, width: int, heads: int, inner_width: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, inner_width))
        self.mlp.add_module("gelu", activation())
        self.mlp.add_module("c_proj", nn.Linear(inner_width, width))
        # where open_clip can scale a branch, which a plain CLIP does not
        self.ls_1, self.ls_2 = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Run the block on tokens (B, N, C), with a mask (N, N) added to the attention."""
        mask = None if attn_mask is None else attn_mask.to(x.dtype)
        x = x + self_attention(self.attn, self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class QuickGelu(nn.Module):
    """OpenAI's approximation of GELU, with which its weights were trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute x * sigmoid(1.702 x)."""
        return x * torch.sigmoid(1.702 * x)


def _weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))
