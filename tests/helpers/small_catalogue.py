"""Small files in the places where the catalogue looks for those of a model."""

import torch

CLIP_SIZES = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 64,
        "patch_size": 16,
        "width": 32,
        "layers": 4,
        "head_width": 8,
    },
    "text_cfg": {"context_length": 77, "width": 16, "heads": 2, "layers": 2},
}
"""Of the fixture `make_clip`."""


def put(file, tensors):
    """Write tensors where a file of the catalogue is looked for."""
    file.place().parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, file.place())


def put_clip(entry, clip, monkeypatch):
    """Write a CLIP of `make_clip` as that of a model, and let its architecture be as small."""
    put(entry.clip, clip.state_dict())
    known = {entry.architecture: CLIP_SIZES}
    monkeypatch.setattr("open_clip.get_model_config", known.__getitem__)
