"""Small files in the places where the catalogue looks for those of a model."""

import open_clip
import torch
from safetensors.torch import load_file

from dinoiser.models import catalog
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.talk2dino import TextProjection
from tests.helpers import official_dinotxt, official_tips
from tests.helpers.official_dino import official_dino
from tests.helpers.teacher_goldens import teacher_weights

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


def put_all(folder, monkeypatch):
    """Put small random files in the places of all models that are fetched; return their names."""
    torch.manual_seed(3)
    entries = {name: e for name, e in catalog._entries().items() if e.config is None}
    monkeypatch.setattr("open_clip.get_model_config", lambda _name: CLIP_SIZES)
    for entry in entries.values():
        if entry.clip is not None:
            clip = open_clip.CLIP(**CLIP_SIZES, quick_gelu=entry.quick_gelu)
            put(entry.clip, clip.state_dict())
        if entry.method in _PUT:
            _PUT[entry.method](entry, folder, monkeypatch)
    return list(entries)


def _put_heads(entry, _folder, monkeypatch):
    heads = entry.heads.model_copy(update={"git_blob": None, "unpinned": True})
    put(heads, DinoiserHeads(32, 24).state_dict())
    monkeypatch.setitem(catalog._entries(), entry.name, entry.model_copy(update={"heads": heads}))


def _put_teachers(entry, _folder, monkeypatch):
    decoder = entry.parts["found_decoder"].model_copy(update={"sha256": None, "unpinned": True})
    put(entry.parts["dino"], teacher_weights("dino_p16."))
    put(entry.parts["found"], teacher_weights("found_p8."))
    put(decoder, {"decoder": teacher_weights("found_decoder.")})
    parts = {**entry.parts, "found_decoder": decoder}
    monkeypatch.setitem(catalog._entries(), entry.name, entry.model_copy(update={"parts": parts}))


def _put_talk2dino(entry, _folder, _monkeypatch):
    version = 3 if "dinov3" in entry.name else 2
    put(entry.parts["dino"], official_dino(version=version, patch_size=entry.patch_size))
    put(entry.parts["projection"], TextProjection(24, 64).state_dict())


def _put_dinotxt(entry, folder, _monkeypatch):
    """The towers of the goldens, with CLIP's vocabulary."""
    version = "dinov3" if "dinov3" in entry.name else "dinov2"
    tensors = load_file(official_dinotxt.FOLDER / f"{version}.safetensors")
    for name, length in (("token_embedding.weight", 49408), ("positional_embedding", 77)):
        [full] = [known for known in tensors if known.endswith(name)]
        tensors[full] = torch.randn(length, tensors[full].shape[1])
    for part, path in official_dinotxt.write_official(tensors, version, folder).items():
        path.rename(entry.parts[part].place())


def _put_tips(entry, folder, _monkeypatch):
    official_tips.put_files(entry, official_tips.write_hub_file(folder))


_PUT = {
    "clip-dinoiser": _put_heads,
    "clip-dino-guided": _put_teachers,
    "talk2dino": _put_talk2dino,
    "dinotxt": _put_dinotxt,
    "tips": _put_tips,
}
