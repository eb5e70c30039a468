"""Find open_clip models by name, such as ``open_clip:ViT-B-32:laion2b_s34b_b79k``."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, NamedTuple

from dinoiser.errors import ModelError, UnknownModelError, did_you_mean
from dinoiser.weights.files import HubFile

PREFIX = "open_clip:"
EXAMPLE = "open_clip:ViT-B-32:laion2b_s34b_b79k"
FILENAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of a model's file on the hub, in open_clip's order of preference."""
SHOWN_TAGS = 6


class OpenClipWeights(NamedTuple):
    """An open_clip model: its names for architecture and weights, and what belongs to them."""

    architecture: str
    pretrained: str
    quick_gelu: bool
    file: HubFile
    patch_size: int


@cache
def find_open_clip(name: str) -> OpenClipWeights:
    """Find a CLIP with a plain ViT tower by its open_clip names.

    Parameters
    ----------
    name
        `PREFIX`, the architecture, a colon, and the name of the weights.

    Raises
    ------
    UnknownModelError
        open_clip has no such architecture, or no such weights for it.
    ModelError
        The model has no plain ViT tower, or another tokenizer or normalisation.
    """
    import open_clip

    architecture, _, tag = name.removeprefix(PREFIX).partition(":")
    config = open_clip.get_model_config(architecture)
    if config is None:
        msg = (
            f"open_clip has no architecture {architecture!r}"
            f"{did_you_mean(architecture, open_clip.list_models())}: give its name and that of the "
            f"weights, as in {EXAMPLE}."
        )
        raise UnknownModelError(msg)
    pretrained = open_clip.get_pretrained_cfg(architecture, tag)
    obstacle = _obstacle(config, pretrained)
    if obstacle:
        msg = (
            f"{name} cannot be used, because {obstacle}: choose a ViT with CLIP's own tokenizer "
            f"and normalisation, such as {EXAMPLE}."
        )
        raise ModelError(msg)
    if not pretrained:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        some = ", ".join(tags[:SHOWN_TAGS]) + (" and more" if len(tags) > SHOWN_TAGS else "")
        msg = (
            f"open_clip has no weights {tag!r} for {architecture}{did_you_mean(tag, tags)}: it has "
            f"{some or 'none'}; give them after a colon, as in {EXAMPLE}."
        )
        raise UnknownModelError(msg)
    quick_gelu = bool(pretrained.get("quick_gelu"))
    patch_size = config["vision_cfg"]["patch_size"]
    file = _file(config, pretrained)
    return OpenClipWeights(architecture, tag, quick_gelu, file, patch_size)


def _obstacle(config: dict[str, Any], pretrained: dict[str, Any]) -> str | None:
    """Say why a model cannot be used; None if it can."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        return f"its image tower is timm's {vision['timm_model_name']}, not a ViT of open_clip"
    if isinstance(vision["layers"], list):
        return "its image tower is a ResNet, not a ViT"
    if vision.get("attentional_pool"):
        return "its image tower pools patches by attention"
    if "hf_model_name" in text or "hf_tokenizer_name" in text:
        return "its tokenizer is not CLIP's"
    colors = (pretrained.get("mean"), pretrained.get("std"))
    if pretrained and colors != (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD):
        return f"its images are normalised with the mean {colors[0]}, not CLIP's"
    return None


def _file(config: dict[str, Any], pretrained: dict[str, Any]) -> HubFile:
    import open_clip
    import torch

    repo, filename = os.path.split(pretrained["hf_hub"])
    # on the meta device, parameters have sizes but no memory
    with torch.device("meta"):
        parameters = open_clip.CLIP(**config).parameters()
    return HubFile(
        repo=repo,
        filenames=(filename,) if filename else FILENAMES,
        approximate_size=sum(p.numel() * p.element_size() for p in parameters),
    )
