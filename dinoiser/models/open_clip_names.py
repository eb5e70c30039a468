"""Models of open_clip by their names there: ``open_clip:ViT-B-32:laion2b_s34b_b79k``."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, NamedTuple

from dinoiser.errors import ModelError, UnknownModelError, did_you_mean
from dinoiser.weights.files import HubFile

PREFIX = "open_clip:"
EXAMPLE = "open_clip:ViT-B-32:laion2b_s34b_b79k"
FILENAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls a model's file on the hub, in its order of preference."""
SHOWN_TAGS = 6


class OpenClipWeights(NamedTuple):
    """A CLIP of open_clip: what it calls architecture and weights, and their file."""

    architecture: str
    pretrained: str
    file: HubFile


@cache
def find_open_clip(name: str) -> OpenClipWeights:
    """Find a CLIP with a plain ViT tower by its names in open_clip.

    Parameters
    ----------
    name
        `PREFIX`, the architecture, a colon, and the name of the weights.

    Raises
    ------
    UnknownModelError
        open_clip has no such architecture, or no such weights of it.
    ModelError
        The model has no plain ViT tower, or needs other words or images than CLIP.
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
            f"{name} cannot be used, because {obstacle}: take a ViT with CLIP's own words and "
            f"images, such as {EXAMPLE}."
        )
        raise ModelError(msg)
    if not pretrained:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        some = ", ".join(tags[:SHOWN_TAGS]) + (" and more" if len(tags) > SHOWN_TAGS else "")
        msg = (
            f"open_clip has no weights {tag!r} of {architecture}{did_you_mean(tag, tags)}: it has "
            f"{some or 'none'}; name them after a colon, as in {EXAMPLE}."
        )
        raise UnknownModelError(msg)
    return OpenClipWeights(architecture, tag, _file(config, pretrained))


def _obstacle(config: dict[str, Any], pretrained: dict[str, Any]) -> str | None:
    """Say what keeps a model from being used, None if nothing does."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        return f"its image tower is timm's {vision['timm_model_name']} and no ViT of open_clip"
    if isinstance(vision["layers"], list):
        return "its image tower is a ResNet and no ViT"
    if vision.get("attentional_pool"):
        return "its image tower sums patches up by an attention of their own"
    if "hf_model_name" in text or "hf_tokenizer_name" in text:
        return "its words go through another tokenizer than CLIP's"
    colors = (pretrained.get("mean"), pretrained.get("std"))
    if pretrained and colors != (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD):
        return f"it was trained on images of the mean {colors[0]} and not of CLIP's"
    return None


def _file(config: dict[str, Any], pretrained: dict[str, Any]) -> HubFile:
    import open_clip
    import torch

    repo, filename = os.path.split(pretrained["hf_hub"])
    with torch.device("meta"):
        parameters = open_clip.CLIP(**config).parameters()
    return HubFile(
        repo=repo,
        filenames=(filename,) if filename else FILENAMES,
        approximate_size=sum(p.numel() * p.element_size() for p in parameters),
    )
