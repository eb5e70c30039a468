"""DINOv2 and DINOv3 ViTs with registers, built with timm from any published file."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.errors import CheckpointError
from dinoiser.models.base import SegmentationModel
from dinoiser.models.patch_embedding import embed_patches
from dinoiser.models.teachers.dino import HEAD_WIDTH, FrozenVit
from dinoiser.weights.checkpoint import load_into, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dinoiser.models.catalog import WindowDefaults

ROTARY_BASE = 100.0
"""Longest period of DINOv3's rotary positions."""


class DinoTokens(NamedTuple):
    """The result of one pass.

    Attributes
    ----------
    tokens
        (B, 1 + registers + h * w, C) after the final norm: class token,
        registers, then patches row by row.
    attention
        (B, heads, h, w), logits of the class token's attention to patches in
        the last block, without rotary positions.
    grid
        (h, w), in patches.
    """

    tokens: Tensor
    attention: Tensor
    grid: tuple[int, int]

    def patches(self) -> Tensor:
        """Return the patches' tokens as (B, C, h, w)."""
        # the last h * w tokens: (B, h * w, C) -> (B, h, w, C) -> (B, C, h, w)
        height, width = self.grid
        return self.tokens[:, -height * width :].unflatten(1, self.grid).permute(0, 3, 1, 2)


class RegisterDino(FrozenVit):
    """A DINOv2 or DINOv3 ViT with registers as a source of dense features.

    Parameters
    ----------
    vit
        The result of `build_register_vit`; set to evaluation mode and frozen.

    Attributes
    ----------
    width
        Number of channels.
    generation
        2 for DINOv2, 3 for DINOv3.

    References
    ----------
    Darcet et al., Vision Transformers Need Registers, ICLR 2024; Siméoni et
    al., DINOv3, 2025.
    """

    def __init__(self, vit: Any) -> None:  # timm's types do not name its blocks
        super().__init__(vit)
        self.width: int = vit.embed_dim
        self.generation: Literal[2, 3] = 2 if vit.pos_embed is not None else 3

    @classmethod
    def load(cls, path: str | Path, head_width: int = HEAD_WIDTH) -> Self:
        """Read a ViT from its authors' file or timm's; its sizes follow from the file.

        Raises
        ------
        CheckpointError
            The file is unsafe, unreadable, or holds other tensors.
        """
        return cls(build_register_vit(read_tensors(path), head_width, path))

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> DinoTokens:
        """Run the ViT on pixels (B, 3, H, W), RGB, float in [0, 1], H and W in full patches."""
        pixels = pixels.to(self.device, torch.float32)
        grid = (pixels.shape[-2] // self.patch_size, pixels.shape[-1] // self.patch_size)
        patches = embed_patches(self.vit.patch_embed.proj, self.normalise(pixels))
        embedded = self.vit._pos_embed(self.vit.patch_embed.norm(patches.permute(0, 2, 3, 1)))
        # for DINOv3, timm also returns the rotations that each block applies
        x, rotations = embedded if isinstance(embedded, tuple) else (embedded, None)
        run = {} if rotations is None else {"rope": rotations}
        for block in self.vit.blocks[:-1]:
            x = block(x, **run)
        # the attention of the last block is computed apart, since the block does not return it
        last = self.vit.blocks[-1]
        logits = _class_attention(last.attn, last.norm1(x), self.vit.num_prefix_tokens)
        return DinoTokens(self.vit.norm(last(x, **run)), logits.unflatten(-1, grid), grid)


class OnRegisterDino(SegmentationModel):
    """What the methods over a frozen DINO have in common, see `SegmentationModel`.

    Parameters
    ----------
    dino
        The source of patch features.
    name, digest, windows
        See `SegmentationModel`.
    """

    def __init__(
        self, dino: RegisterDino, name: str, digest: str | None, windows: WindowDefaults
    ) -> None:
        self.dino = dino
        self.name = name
        self.digest = digest
        self.windows = windows
        self.patch_size = dino.patch_size
        self.embedding_dim = dino.width

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.dino.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the backbone's weights."""
        return self.dino.dtype


def _class_attention(attention: Any, x: Tensor, prefix: int) -> Tensor:
    """Logits (B, heads, N) of the first token's attention to the N tokens after `prefix`."""
    queries, keys, _ = attention.qkv.weight.chunk(3)
    if attention.qkv.bias is not None:
        query_bias, key_bias, _ = attention.qkv.bias.chunk(3)
    else:  # the keys of DINOv3 have no bias
        query_bias, key_bias = attention.q_bias, None
    query = F.linear(x[:, :1], queries, query_bias)
    key = F.linear(x[:, prefix:], keys, key_bias)
    # (B, n, C) -> (B, n, heads, C / heads) -> (B, heads, n, C / heads)
    heads = (attention.num_heads, -1)
    query, key = (part.unflatten(-1, heads).transpose(1, 2) for part in (query, key))
    return (attention.scale * query @ key.mT)[:, :, 0]


def build_register_vit(
    tensors: Mapping[str, Tensor], head_width: int = HEAD_WIDTH, path: str | Path | None = None
) -> Any:
    """Build timm's ViT for the weights of DINOv2 or DINOv3, and load them.

    Parameters
    ----------
    tensors
        The weights, named as by their authors or by timm.
    head_width
        Channels of an attention head, 64 in all published models. For
        DINOv3, the file determines it.
    path
        Their file, for the message.

    Raises
    ------
    CheckpointError
        The weights do not fit; the message lists what differs.
    """
    named = {_timm_name(name): tensor for name, tensor in tensors.items()}
    kernel, registers = named.get("patch_embed.proj.weight"), named.get("reg_token")
    if kernel is None or kernel.ndim != 4 or registers is None or registers.ndim != 3:
        msg = (
            f"{path or 'The file'} does not contain a vision transformer with registers: expected "
            "patch_embed.proj.weight and register_tokens or storage_tokens, found "
            f"{sorted(tensors)[:6]}; give one of the published backbones, such as "
            "dinov2_vitb14_reg4_pretrain.pth or dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth."
        )
        raise CheckpointError(msg)
    width, periods = kernel.shape[0], named.get("rope.periods")
    # a period serves four channels of a head: rows and columns, sine and cosine each
    if periods is not None:
        head_width = 4 * len(periods)
    sizes = {
        "patch_size": kernel.shape[-1],
        "embed_dim": width,
        "depth": len({name.split(".")[1] for name in named if name.startswith("blocks.")}),
        "num_heads": max(1, width // head_width),
        "num_classes": 0,
        "init_values": 1e-5,  # any value adds LayerScale, whose weights the file holds
        "dynamic_img_size": True,
    }
    build = _build_second if "pos_embed" in named else _build_third
    return build(named, sizes, registers.shape[1], path)


def _timm_name(name: str) -> str:
    name = re.sub(r"^(register_tokens|storage_tokens)$", "reg_token", name)
    return re.sub(r"^rope_embed\.periods$", "rope.periods", name)


def _build_second(
    named: dict[str, Tensor], sizes: dict[str, Any], registers: int, path: str | Path | None
) -> nn.Module:
    """DINOv2: a position table, in the authors' files with a first row for the class token."""
    from timm.models.vision_transformer import VisionTransformer

    named = dict(named)
    rows = named["pos_embed"].shape[1]
    side = math.isqrt(rows)
    # timm adds no position to the class token, so the row is added to the token itself
    if rows == side * side + 1:
        named["cls_token"] = named["cls_token"] + named["pos_embed"][:, :1]
        named["pos_embed"] = named["pos_embed"][:, 1:]
    img_size = side * sizes["patch_size"]
    vit = VisionTransformer(img_size=img_size, reg_tokens=registers, no_embed_class=True, **sizes)
    load_into(vit, named, path, ignore=["mask_token"])
    return vit


def _build_third(
    named: dict[str, Tensor], sizes: dict[str, Any], registers: int, path: str | Path | None
) -> nn.Module:
    """DINOv3: rotary positions, and biases for queries and values only."""
    from timm.models.eva import Eva

    periods = named.get("rope.periods")
    renamed = dict(_third_names(named))
    vit = Eva(
        qkv_bias="blocks.0.attn.q_bias" in renamed,
        rope_type="dinov3",
        rope_temperature=ROTARY_BASE,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=registers,
        use_fc_norm=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        **sizes,
    )
    load_into(vit, renamed, path, ignore=["mask_token", "rope.periods"])
    if periods is not None:  # the authors' are rounded: use the file's, not timm's
        vit.get_buffer("rope.periods").copy_(periods)
    return vit


def _third_names(named: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """DINOv3's weights by timm's names; the mask that zeroes the keys' bias is not needed there."""
    renamed = []
    for name, tensor in named.items():
        if name.endswith("qkv.bias"):
            query, _, value = tensor.chunk(3)
            renamed += [(name.replace("qkv.bias", "q_bias"), query)]
            renamed += [(name.replace("qkv.bias", "v_bias"), value)]
        elif not name.endswith("qkv.bias_mask"):
            renamed.append((re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", name), tensor))
    return renamed
