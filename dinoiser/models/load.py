"""Load a model of the catalogue by name, ready to run."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

from dinoiser.errors import CheckpointError, ModelError, SettingsError
from dinoiser.models.catalog import find_model
from dinoiser.models.clip import Clip, is_plain
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.device import own_torch, resolve_device, resolve_precision
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.open_clip_files import architecture_config
from dinoiser.weights.checkpoint import load_into, read_metadata, read_tensors
from dinoiser.weights.digests import digest
from dinoiser.weights.fetch import fetch_all

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

    from dinoiser.models.base import SegmentationModel
    from dinoiser.models.catalog import ModelEntry
    from dinoiser.models.maskclip import GuideBlock
    from dinoiser.models.variation import Variation


ClipModel = Literal["clip-dinoiser", "maskclip", "tiny", "maskclip-tiny"]


class Placement(NamedTuple):
    """Device and number format for a model's weights."""

    device: torch.device
    dtype: torch.dtype


@overload
def load_model(
    name: ClipModel = "clip-dinoiser",
    device: str | torch.device = "auto",
    precision: str = "auto",
    *,
    heads: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> MaskClip: ...


@overload
def load_model(
    name: str,
    device: str | torch.device = "auto",
    precision: str = "auto",
    *,
    heads: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> SegmentationModel: ...


@own_torch()
def load_model(
    name: str = "clip-dinoiser",
    device: str | torch.device = "auto",
    precision: str = "auto",
    *,
    heads: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> SegmentationModel:
    """Load a model, downloading its weights if they are not on this machine.

    Parameters
    ----------
    name
        A name from `dinoiser.list_models`, or ``open_clip:ARCHITECTURE:WEIGHTS`` for
        an open_clip model with a plain ViT tower, such as
        ``open_clip:ViT-B-32:laion2b_s34b_b79k``.
    device
        "auto", "cpu", "cuda", "cuda:1" or "mps", or a device of torch's.
    precision
        "auto", "fp32", "bf16" or "fp16", see `resolve_precision`.
    heads
        A file of heads to use instead of the catalogue's. A file from `dinoiser train`
        also sets the threshold of the correlations.
    progress
        Called with a file's name, the bytes fetched and the total bytes.
    cancelled
        Called between pieces of a download; True stops it.

    Raises
    ------
    UnknownModelError, DeviceError, ModelError, WeightsError, CheckpointError
        See `dinoiser.errors`.
    SettingsError
        Heads are given, but the model takes none.
    """
    entry = find_model(name)
    if heads and not entry.takes_heads:
        msg = (
            f"The model {name} cannot use the heads in {heads}; omit them, or choose a model such "
            "as clip-dinoiser."
        )
        raise SettingsError(msg)
    _require_packages(entry)
    torch_device = resolve_device(device)
    place = Placement(torch_device, resolve_precision(precision, torch_device))
    # fetch the files; heads given by the user replace those of the catalogue
    parts = {"clip": entry.clip, "heads": None if heads else entry.heads, **entry.parts_here}
    files = {part: file for part, file in parts.items() if file is not None}
    found = fetch_all(list(files.values()), progress, cancelled)
    paths = dict(zip(files, found, strict=True))
    if heads:
        paths["heads"] = Path(heads)
    if "heads" in paths:
        entry = _with_heads_of(entry, paths)
    # build the model
    loaded_heads = DinoiserHeads.load(paths["heads"]) if "heads" in paths else None
    described: dict[str, Any] = {
        "name": entry.name,
        "digest": _joint_digest(list(paths.values())),
        "windows": entry.windows,
    }
    return _build(entry, paths, loaded_heads, place, described)


def load_clip_model(name: str, *arguments: Any, **keywords: Any) -> MaskClip:
    """Load a model to which heads can be fitted, see `load_model`.

    Raises
    ------
    SettingsError
        The model's method has no heads.
    """
    entry = find_model(name)
    if not entry.takes_heads:
        msg = (
            f"Heads cannot be fitted to {name}, as its method {entry.method} has none; choose a "
            "model such as clip-dinoiser."
        )
        raise SettingsError(msg)
    model = load_model(name, *arguments, **keywords)
    return cast("MaskClip", model)


def _require_packages(entry: ModelEntry) -> None:
    """Refuse a model that needs an extra which is not installed, before weights are fetched."""
    if entry.method == "tips" and find_spec("sentencepiece") is None:
        msg = (
            f"The model {entry.name} needs the package sentencepiece, which is not installed: "
            "install it with pip install sentencepiece, or choose another model."
        )
        raise ModelError(msg)


def _with_heads_of(entry: ModelEntry, paths: dict[str, Path]) -> ModelEntry:
    """Adopt the threshold stored with the heads; refuse heads fitted to another CLIP."""
    made_of = read_metadata(paths["heads"])
    backbone = digest(paths["clip"])
    # the official checkpoint does not say which CLIP it is for; `dinoiser train` records it
    if made_of.get("backbone", backbone) != backbone:
        msg = (
            f"The heads in {paths['heads']} were fitted to the model {made_of.get('model')!r}, "
            f"whose CLIP differs from that of {entry.name!r}: use them with "
            f"{made_of.get('model')!r}, or fit new ones with `dinoiser train -m {entry.name}`."
        )
        raise CheckpointError(msg)
    gamma = _read_gamma(made_of["gamma"], paths["heads"]) if "gamma" in made_of else entry.gamma
    block = made_of.get("guide_block")
    guide_block = entry.guide_block if block is None else _read_block(block, paths["heads"])
    return entry.model_copy(update={"gamma": gamma, "guide_block": guide_block})


def _read_block(text: str, path: Path) -> GuideBlock:
    """Read which block the heads were fitted to; whether the tower has it is checked later."""
    if text == "final":
        return "final"
    with suppress(ValueError):
        return int(text)
    msg = (
        f"The heads in {path} have the guide block {shorten(text, 40)!r}, expected a number below "
        "0 or final: choose another file, or fit the heads again."
    )
    raise CheckpointError(msg)


def _read_gamma(text: str, path: Path) -> float:
    """Read the threshold of the correlations, which are cosines."""
    with suppress(ValueError):
        gamma = float(text)
        if -1 <= gamma <= 1:  # which NaN is not
            return gamma
    msg = (
        f"The heads in {path} have the threshold gamma {shorten(text, 40)!r}, expected a number "
        "from -1 to 1: choose another file, or fit the heads again."
    )
    raise CheckpointError(msg)


def _build(
    entry: ModelEntry,
    paths: dict[str, Path],
    heads: DinoiserHeads | None,
    place: Placement,
    described: dict[str, Any],
) -> SegmentationModel:
    if entry.method == "talk2dino":
        return _build_talk2dino(entry, paths, place, described)
    if entry.method == "dinotxt":
        return _build_dinotxt(paths, place, described)
    if entry.method == "tips":
        return _build_tips(entry, paths, place, described)
    clip = build_clip(entry, paths["clip"]).to(*place)
    if entry.variation is not None:
        return _build_varied(clip, entry, entry.variation, heads, paths, described)
    if heads is not None:
        return ClipDinoiser(clip, heads, entry.gamma, entry.guide_block, **described)
    if entry.method == "clip-dino-guided":
        return _build_guided(clip, entry, paths, described)
    if entry.method == "clip-keys-refined":
        from dinoiser.models.key_refinement import KeyRefinedClip

        return KeyRefinedClip(clip, **described)
    if entry.method == "naclip":
        from dinoiser.models.naclip import NaClip

        return NaClip(clip, **described)
    return MaskClip(clip, **described)


def _build_varied(
    clip: nn.Module,
    entry: ModelEntry,
    variation: Variation,
    heads: DinoiserHeads | None,
    paths: dict[str, Path],
    described: dict[str, Any],
) -> SegmentationModel:
    from dinoiser.models.teachers.dino import Dino
    from dinoiser.models.teachers.found import Found
    from dinoiser.models.varied import Sources, VariedClip

    if variation.uses_heads and heads is None:
        msg = (
            f"{entry.name} needs heads, and the model has none of its own: give some with --heads, "
            "or choose clip-dinoiser."
        )
        raise SettingsError(msg)
    sources = Sources(
        heads,
        Dino.load(paths["dino"]) if "dino" in paths else None,
        Found.load(paths["found"], paths["found_decoder"]) if "found" in paths else None,
    )
    gamma = entry.gamma if variation.gamma is None else variation.gamma
    return VariedClip(clip, variation, sources, gamma, entry.guide_block, **described)


def _build_guided(
    clip: nn.Module, entry: ModelEntry, paths: dict[str, Path], described: dict[str, Any]
) -> SegmentationModel:
    from dinoiser.models.teacher_guided import TeacherGuidedClip
    from dinoiser.models.teachers.dino import Dino
    from dinoiser.models.teachers.found import Found

    found = Found.load(paths["found"], paths["found_decoder"])
    return TeacherGuidedClip(clip, Dino.load(paths["dino"]), found, entry.gamma, **described)


def _build_talk2dino(
    entry: ModelEntry, paths: dict[str, Path], place: Placement, described: dict[str, Any]
) -> SegmentationModel:
    from dinoiser.models.dino_registers import RegisterDino
    from dinoiser.models.talk2dino import Talk2Dino, TextProjection

    projection = TextProjection.load(paths["projection"])
    dino = RegisterDino.load(paths["dino"]).to(*place)
    clip = build_clip(entry, paths["clip"])
    del clip.visual  # only the text tower is used
    return Talk2Dino(clip.to(*place), dino, projection, entry.threshold, **described)


def _build_dinotxt(
    paths: dict[str, Path], place: Placement, described: dict[str, Any]
) -> SegmentationModel:
    from dinoiser.models.dino_registers import RegisterDino
    from dinoiser.models.dinotxt import DinoTxt
    from dinoiser.models.dinotxt_towers import read_towers

    head, text = read_towers(paths)
    return DinoTxt(RegisterDino.load(paths["dino"]).to(*place), head, text, **described)


def _build_tips(
    entry: ModelEntry, paths: dict[str, Path], place: Placement, described: dict[str, Any]
) -> SegmentationModel:
    from dinoiser.models.tips import TipsV2
    from dinoiser.models.tips_tokenizer import TipsTokenizer
    from dinoiser.models.tips_towers import read_towers

    vision, text = read_towers(paths)
    tokenize = TipsTokenizer(paths["tokenizer"])
    return TipsV2(vision.to(*place), text, tokenize, entry.temperature, **described)


def build_clip(entry: ModelEntry, path: Path) -> nn.Module:
    """Build the CLIP of an entry, of open_clip's class if it is not plain, and load its weights."""
    # the activation depends on the weights, not the architecture
    known = entry.read_config() or architecture_config(cast("str", entry.architecture))
    config = {**known, "quick_gelu": entry.quick_gelu}
    clip: Any
    if is_plain(config):
        clip = Clip(**config)
    else:
        import open_clip

        clip = open_clip.CLIP(**config)
    tensors = read_tensors(path)
    if "token_embedding.rows" in tensors:
        tensors = expand_token_table(tensors, clip.vocab_size)
    load_into(clip, tensors, path, ignore=["attn_mask"])
    return cast("nn.Module", clip)


def expand_token_table(tensors: dict[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """Restore the token table of a file that contains only the rows that were trained.

    Parameters
    ----------
    tensors
        Weights with `token_embedding.rows` (n, C), their `row_ids` (n,), and one
        row `other` (1, C) for all other tokens.
    vocabulary
        Number of tokens.

    Returns
    -------
    dict
        The weights with `token_embedding.weight` (vocabulary, C) instead.
    """
    tensors = dict(tensors)
    table = tensors.pop("token_embedding.other").expand(vocabulary, -1).clone()
    row_ids = tensors.pop("token_embedding.row_ids").long()
    table[row_ids] = tensors.pop("token_embedding.rows")
    return {**tensors, "token_embedding.weight": table}


def _joint_digest(paths: list[Path]) -> str:
    return hashlib.sha256("".join(digest(path) for path in paths).encode()).hexdigest()
