"""From a name in the catalogue to a model that is ready to run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from dinoiser.models.catalog import find_model
from dinoiser.models.checkpoint import load_into, read_tensors
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.device import resolve_device, resolve_precision
from dinoiser.models.digests import digest
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.weights import fetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from dinoiser.models.catalog import ModelEntry


def load_model(
    name: str = "clip-dinoiser",
    device: str = "auto",
    precision: str = "auto",
    *,
    heads: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> MaskClip:
    """Load a model of the catalogue, fetching its weights when they are not here yet.

    Parameters
    ----------
    name
        A name from `dinoiser.list_models`.
    device
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision
        "auto", "fp32", "bf16" or "fp16", see `resolve_precision`.
    heads
        Heads of one's own instead of the catalogue's.
    progress
        Called with a file's name, the bytes fetched and the bytes in all.
    cancelled
        Asked between pieces of a download; True stops it.

    Raises
    ------
    UnknownModelError, DeviceError, WeightsError, CheckpointError
        See `dinoiser.errors`.
    """
    entry = find_model(name)
    torch_device = resolve_device(device)
    dtype = resolve_precision(precision, torch_device)
    clip_path = fetch(entry.clip, progress, cancelled)
    heads_path = heads or (entry.heads and fetch(entry.heads, progress, cancelled))
    loaded_heads = DinoiserHeads.load(heads_path) if heads_path else None
    clip = build_clip(entry, clip_path).to(torch_device, dtype)
    paths = [clip_path, heads_path] if heads_path else [clip_path]
    described: dict[str, Any] = {
        "name": name,
        "digest": _joint_digest(paths),
        "windows": entry.windows,
    }
    if loaded_heads is None:
        return MaskClip(clip, **described)
    return ClipDinoiser(clip, loaded_heads, entry.gamma, **described)


def build_clip(entry: ModelEntry, path: Path) -> nn.Module:
    """Build an open_clip CLIP of the catalogue and fill it from a weights file."""
    import open_clip

    config = entry.read_config() or open_clip.get_model_config(entry.architecture)
    clip = open_clip.CLIP(**config)
    tensors = read_tensors(path)
    if "token_embedding.rows" in tensors:
        tensors = expand_token_table(tensors, clip.vocab_size)
    load_into(clip, tensors, path, ignore=["attn_mask"])
    return clip


def expand_token_table(tensors: dict[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """Fill in the token table of a file that ships only the rows it was trained on.

    Parameters
    ----------
    tensors
        With `token_embedding.rows` (n, C), their `row_ids` (n,), and one row
        `other` (1, C) for every other token.
    vocabulary
        Number of tokens.

    Returns
    -------
    dict
        The same, with `token_embedding.weight` (vocabulary, C) in their place.
    """
    tensors = dict(tensors)
    table = tensors.pop("token_embedding.other").expand(vocabulary, -1).clone()
    row_ids = tensors.pop("token_embedding.row_ids").long()
    table[row_ids] = tensors.pop("token_embedding.rows")
    return {**tensors, "token_embedding.weight": table}


def _joint_digest(paths: list) -> str:
    return hashlib.sha256("".join(digest(path) for path in paths).encode()).hexdigest()
