"""Dense features from any ViT that timm knows by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, ModelError, UnknownModelError, did_you_mean, reason_of
from dinoiser.models.maskclip import pad_to_patches
from dinoiser.models.teachers.dino import FrozenVit
from dinoiser.weights.checkpoint import read_tensors
from dinoiser.weights.files import HubFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FAMILIES = ("vision_transformer", "deit", "eva")
"""Modules of timm that define plain ViTs."""
EXAMPLE = "vit_small_patch14_dinov2.lvd142m"


class TimmVit(FrozenVit):
    """A ViT of timm with any kind of class token, registers and positions.

    Unlike `Dino`, it leaves resizing positions to another grid to timm.

    Parameters
    ----------
    vit
        The result of ``timm.create_model(..., dynamic_img_size=True)``; set to
        evaluation mode and frozen.

    Raises
    ------
    ModelError
        The network is of another kind.
    """

    def __init__(self, vit: Any) -> None:  # timm's types do not name its blocks
        _check_kind(vit)
        super().__init__(vit, vit.pretrained_cfg["mean"], vit.pretrained_cfg["std"])

    @classmethod
    def load(cls, name: str, path: str | Path) -> Self:
        """Build a ViT by name and load its weights from the file described by `find_vit`.

        Raises
        ------
        CheckpointError
            The file is unsafe, unreadable, or holds other tensors.
        ModelError
            The network is of another kind.
        """
        try:
            vit = _create(name, read_tensors(path))
        except (RuntimeError, KeyError) as error:
            if isinstance(error, ModelError):  # a RuntimeError, too
                raise
            reason = reason_of(error)[:200]
            msg = f"{path} does not contain the weights of {name} ({reason}): fetch it again."
            raise CheckpointError(msg) from error
        return cls(vit)

    @torch.no_grad()
    def values(self, pixels: Tensor) -> Tensor:
        """Values (B, C, h, w) of the last block; pixels (B, 3, H, W), RGB, float in [0, 1].

        Sizes that are not multiples of the patch are padded with black at the right and
        bottom. The values of all heads are concatenated and not normalised.
        """
        padded = pad_to_patches(pixels.to(self.device, torch.float32), self.patch_size)
        # a value belongs to one token, so the last block's attention is not needed
        (tokens,) = self.vit.forward_intermediates(
            self.normalise(padded),
            indices=[len(self.vit.blocks) - 2],
            stop_early=True,
            intermediates_only=True,
        )  # (B, C, h, w)
        last = self.vit.blocks[-1]
        # channels last for the norm and the projection: (B, h, w, C)
        values = _project_values(last.attn, last.norm1(tokens.permute(0, 2, 3, 1)))
        return values.permute(0, 3, 1, 2)


def find_vit(name: str) -> HubFile:
    """Find the weights of a ViT by its name in timm.

    Parameters
    ----------
    name
        Such as ``vit_small_patch14_dinov2.lvd142m``; without the part after the dot, timm
        chooses the weights.

    Raises
    ------
    UnknownModelError
        timm has no weights of this name.
    ModelError
        `TimmVit` cannot use the network.
    """
    import timm

    config = _find_config(name)
    if not timm.models.is_model_in_modules(name, FAMILIES):
        msg = f"{name} is not a plain ViT: choose one such as {EXAMPLE}."
        raise ModelError(msg)
    # on the meta device, parameters have sizes but no memory
    with torch.device("meta"):
        vit = _create(name)
    _check_kind(vit)
    alternatives = ("model.safetensors", "pytorch_model.bin")
    return HubFile(
        repo=config.hf_hub_id,
        filenames=(config.hf_hub_filename,) if config.hf_hub_filename else alternatives,
        approximate_size=sum(p.numel() * p.element_size() for p in vit.parameters()),
    )


def _find_config(name: str) -> Any:
    """Look up timm's description of weights by name."""
    import timm

    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # timm knows the network but not the weights
        config = None
    if config is None or not config.hf_hub_id:
        hint = did_you_mean(name, timm.list_pretrained())
        msg = f"timm has no weights named {name!r}{hint}: choose those of a ViT, such as {EXAMPLE}."
        raise UnknownModelError(msg)
    return config


def _create(name: str, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """Build a network with its classifier; without one, timm would ignore missing weights."""
    import timm

    if tensors is None:
        return timm.create_model(name, dynamic_img_size=True)
    filled = {"state_dict": dict(tensors)}
    vit: Any = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=filled, dynamic_img_size=True
    )
    vit.pretrained_cfg.pop("state_dict")  # otherwise kept in memory twice
    return vit


def _check_kind(vit: Any) -> None:
    from timm.models.eva import Eva, EvaBlock
    from timm.models.vision_transformer import Block, VisionTransformer

    last = vit.blocks[-1] if isinstance(vit, VisionTransformer | Eva) else None
    if not isinstance(last, Block | EvaBlock) or getattr(last.attn, "qkv", None) is None:
        msg = (
            f"The teacher is a {type(vit).__name__}, but a ViT of timm whose blocks compute "
            f"queries, keys and values together is needed; choose one such as {EXAMPLE}."
        )
        raise ModelError(msg)


def _project_values(attention: Any, x: Tensor) -> Tensor:
    """Values (..., C) of tokens (..., C)."""
    weight, bias = attention.qkv.weight.chunk(3)[2], attention.qkv.bias
    # if keys have no bias, timm stores those of queries and values separately
    bias = getattr(attention, "v_bias", None) if bias is None else bias.chunk(3)[2]
    return F.linear(x, weight, bias)
