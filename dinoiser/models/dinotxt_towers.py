"""The two trained parts of dino.txt, read from its authors' files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dinoiser.errors import CheckpointError
from dinoiser.models.published_tower import PublishedTower
from dinoiser.models.teachers.dino import HEAD_WIDTH
from dinoiser.weights.checkpoint import read_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VISION_PREFIX, TEXT_PREFIX = "visual_model.head.", "text_model."
IMAGE_LEVEL = ("logit_scale",)
"""Weights in the combined file that serve only to compare whole images with texts."""


def read_towers(paths: Mapping[str, Path], head_width: int = HEAD_WIDTH) -> Towers:
    """Read both towers.

    Parameters
    ----------
    paths
        DINOv2's files "vision_head" and "text_encoder", or DINOv3's single
        file "head_and_text".
    head_width
        Channels of an attention head, 64 in both published models.

    Raises
    ------
    CheckpointError
        A file is unsafe, unreadable, or contains other tensors, which are listed.
    """
    if "head_and_text" in paths:
        vision_path = text_path = paths["head_and_text"]
        vision, text = split_parts(read_tensors(vision_path), vision_path)
    else:
        vision_path, text_path = paths["vision_head"], paths["text_encoder"]
        vision, text = read_tensors(vision_path), read_tensors(text_path)
    return Towers(
        VisionHead.from_tensors(vision, head_width, vision_path),
        DinoTextTower.from_tensors(text, head_width, text_path),
    )


def split_parts(
    tensors: Mapping[str, Tensor], path: str | Path | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split DINOv3's combined file into weights of the vision head and of the text tower.

    Raises
    ------
    CheckpointError
        The file contains other weights too, which are listed.
    """
    parts: dict[str, dict[str, Tensor]] = {VISION_PREFIX: {}, TEXT_PREFIX: {}}
    others = []
    for name, tensor in tensors.items():
        prefix = next((some for some in parts if name.startswith(some)), None)
        if prefix is not None:
            parts[prefix][name.removeprefix(prefix)] = tensor
        elif name not in IMAGE_LEVEL:
            others.append(name)
    if others or not all(parts.values()):
        msg = (
            f"{path or 'The file'} is not a vision head and text encoder of dino.txt: expected "
            f"names under {VISION_PREFIX} and {TEXT_PREFIX}, also found {sorted(others)[:6]}; give "
            "a file such as dinov3_vitl16_dinotxt_vision_head_and_text_encoder-a442d8f5.pth."
        )
        raise CheckpointError(msg)
    return parts[VISION_PREFIX], parts[TEXT_PREFIX]


class VisionHead(PublishedTower):
    """Transformer blocks with gated MLPs on a backbone's tokens, and a final norm.

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
    """

    part = "vision head of dino.txt"
    renamed = (
        (r"^block_list\.", "blocks."),  # their name in DINOv2's file
        (r"^ln_final\.", "norm."),
        # SwiGLU: gate, value and output; timm has its own names for them
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    )

    def __init__(self, width: int, depth: int, hidden: int, heads: int) -> None:
        super().__init__()
        from timm.layers import SwiGLU

        self.width = width
        self.blocks = nn.Sequential(
            *(
                _block(width, heads, hidden, mlp_layer=SwiGLU, act_layer=nn.SiLU, init_values=1e-5)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) to tokens (B, N, C)."""
        return self.norm(self.blocks(tokens))

    @staticmethod
    def _sizes(shape: Callable[[str], torch.Size], head_width: int) -> dict[str, int]:
        hidden, width = shape("blocks.0.mlp.fc1_g.weight")
        return {"width": width, "hidden": hidden, "heads": max(1, width // head_width)}


class DinoTextTower(PublishedTower):
    """A causal text transformer, read at the end token and projected.

    Parameters
    ----------
    width
        Number of channels.
    depth
        Number of blocks.
    hidden
        Number of channels within the MLPs.
    heads
        Number of attention heads.
    vocabulary, context_length
        Number of different tokens, and of tokens in a sentence.
    embedding_dim
        Length of the resulting vectors.
    """

    part = "text tower of dino.txt"
    renamed = (
        # the file has two parts, the transformer and the projection after it
        (r"^(backbone|head)\.", ""),
        (r"\.attention_norm\.", ".norm1."),
        (r"\.attention\.", ".attn."),
        (r"\.ffn_norm\.", ".norm2."),
        (r"\.feed_forward\.", ".mlp."),
    )

    def __init__(
        self,
        width: int,
        depth: int,
        hidden: int,
        heads: int,
        vocabulary: int,
        context_length: int,
        embedding_dim: int,
    ) -> None:
        super().__init__()
        self.context_length = context_length
        self.embedding_dim = embedding_dim
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(context_length, width))
        self.blocks = nn.ModuleList(_block(width, heads, hidden) for _ in range(depth))
        self.ln_final = nn.LayerNorm(width)
        self.linear_projection = nn.Linear(width, embedding_dim, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (T, embedding_dim) of token ids (T, L), any length.

        The end token has the largest id. What follows the last end token of
        the batch is cut off, since it cannot change the result.
        """
        ends = ids.argmax(-1)
        length = int(ends.max()) + 1
        # (T, L) ids -> (T, L, C)
        x = self.token_embedding(ids[:, :length]) + self.positional_embedding[:length]
        # -inf above the diagonal: a token attends to itself and those before it
        past = x.new_full((length, length), float("-inf")).triu(1)
        for block in self.blocks:
            x = block(x, attn_mask=past)
        # (T, L, C) -> (T, C) at the end tokens -> (T, embedding_dim)
        return self.linear_projection(self.ln_final(x[torch.arange(len(x), device=x.device), ends]))

    @staticmethod
    def _sizes(shape: Callable[[str], torch.Size], head_width: int) -> dict[str, int]:
        vocabulary, width = shape("token_embedding.weight")
        return {
            "width": width,
            "hidden": shape("blocks.0.mlp.fc1.weight")[0],
            "heads": max(1, width // head_width),
            "vocabulary": vocabulary,
            "context_length": shape("positional_embedding")[0],
            "embedding_dim": shape("linear_projection.weight")[0],
        }


class Towers(NamedTuple):
    """What dino.txt adds to a backbone."""

    head: VisionHead
    text: DinoTextTower


def _block(width: int, heads: int, hidden: int, **kinds: Any) -> nn.Module:
    from timm.models.vision_transformer import Block

    return Block(
        width,
        heads,
        mlp_ratio=hidden / width,
        qkv_bias=False,  # in both towers
        norm_layer=nn.LayerNorm,
        **kinds,
    )
