"""A small CLIP of random weights that open_clip knows by name, its file in an empty cache."""

import open_clip
import torch
from open_clip import factory, pretrained
from safetensors.torch import save_file

from dinoiser.models.catalog import find_model

ARCHITECTURE = "ViT-small-14"
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 56, "patch_size": 14, "width": 64, "layers": 4, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def publish_small_clip(folder, monkeypatch, quick_gelu=False):
    """Let open_clip know of it, and put its weights into the cache; its name and the CLIP."""
    tag = "quick" if quick_gelu else "plain"
    monkeypatch.setitem(factory._MODEL_CONFIGS, ARCHITECTURE, CONFIG)
    described = pretrained._pcfg(hf_hub=f"someone/{tag}/", quick_gelu=quick_gelu)
    monkeypatch.setitem(pretrained._PRETRAINED, ARCHITECTURE, {tag: described})
    monkeypatch.setenv("DINOISER_CACHE", str(folder / "cache"))
    torch.manual_seed(4)
    clip = open_clip.CLIP(**CONFIG, quick_gelu=quick_gelu).eval()
    name = f"open_clip:{ARCHITECTURE}:{tag}"
    place = find_model(name).clip.place()
    place.parent.mkdir(parents=True)
    save_file({n: t.contiguous() for n, t in clip.state_dict().items()}, place)
    return name, clip
