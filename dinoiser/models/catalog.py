"""The models that dinoiser knows by name, read from ``catalog.yaml``."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from dinoiser.errors import SettingsError, UnknownModelError, did_you_mean
from dinoiser.models import open_clip_names
from dinoiser.models.variation import Variation, split_name
from dinoiser.safe_yaml import load_own
from dinoiser.weights.files import FrozenModel, PackageFile, WeightFile

CATALOG_PATH = Path(__file__).with_name("catalog.yaml")

Method = Literal[
    "clip-dinoiser",
    "maskclip",
    "clip-dino-guided",
    "clip-keys-refined",
    "naclip",
    "talk2dino",
    "dinotxt",
    "tips",
]
Background = Literal["objectness", "threshold", "class"]
"""What a class "background" means to a method, see `dinoiser.models.base.Scoring`."""

BACKGROUNDS: dict[Method, Background] = {
    "clip-dinoiser": "objectness",
    "maskclip": "class",
    "clip-dino-guided": "objectness",
    "clip-keys-refined": "class",
    "naclip": "class",
    "talk2dino": "threshold",
    "dinotxt": "class",
    "tips": "class",
}
PARTS: dict[Method, tuple[set[str], ...]] = {
    "clip-dino-guided": ({"dino", "found", "found_decoder"},),
    "talk2dino": ({"dino", "projection"},),
    "dinotxt": ({"dino", "vision_head", "text_encoder"}, {"dino", "head_and_text"}),
    "tips": ({"towers", "tokenizer"}, {"vision", "text", "tokenizer"}),
}
"""Files of a method besides a CLIP and heads, in each possible set; other methods have none."""
VARIED: set[Method] = {"clip-dinoiser", "maskclip"}
"""Methods that read heads, or what a `Variation` puts in their place."""
WITHOUT_CLIP: set[Method] = {"dinotxt", "tips"}


class WindowDefaults(FrozenModel):
    """Windows that suit a model, in pixels.

    The image is scaled so that its shorter side has ``short_side`` pixels, by cubic
    interpolation if ``cubic``, and cut into square windows of side ``window``,
    ``stride`` pixels apart. The defaults are the paper's.
    """

    short_side: PositiveInt = 448
    window: PositiveInt = 448
    stride: PositiveInt = 224
    cubic: bool = False


class ModelEntry(FrozenModel):
    """One model of the catalogue: its files, its source and its licence.

    ``architecture`` and ``pretrained`` are open_clip's names; ``quick_gelu`` is the
    activation with which the weights were trained; ``config`` is the architecture's
    file if open_clip does not know it. ``gamma`` is the threshold of
    the correlations if the heads' file does not state one, 0.2 in the paper;
    ``guide_block`` likewise, see `dinoiser.models.maskclip.MaskClip`.
    ``patch_size`` is the side of a patch in pixels, known before a model is loaded.
    ``teacher`` is the default teacher of new heads. ``parts`` are a method's other
    files, see `PARTS`; ``other_parts`` is another set of the same, used if all of it
    is on this machine and not all of ``parts`` is. ``threshold`` is the probability
    below which Talk2DINO predicts background, and ``temperature`` the trained one of
    TIPS. ``variation`` is part of a name that was asked for, never of the file.
    """

    name: str
    description: str
    method: Method
    architecture: str | None = None
    pretrained: str | None = None
    quick_gelu: bool = False
    licence: str
    citation: str
    source: str
    clip: WeightFile | None = None
    heads: WeightFile | None = None
    config: PackageFile | None = None
    parts: dict[str, WeightFile] = Field(default_factory=dict)
    other_parts: dict[str, WeightFile] = Field(default_factory=dict)
    threshold: float = Field(default=0.55, gt=0, lt=1)
    temperature: float = Field(default=0.005, gt=0)
    variation: Variation | None = None
    gamma: float = Field(default=0.2, ge=0, lt=1)
    guide_block: int | Literal["final"] = -3
    teacher: Literal["dino", "dino-tiny"] = "dino"
    patch_size: PositiveInt
    windows: WindowDefaults

    @model_validator(mode="after")
    def _has_heads_where_needed(self) -> Self:
        if (self.method == "clip-dinoiser") != (self.heads is not None):
            msg = f"{self.name}: the method clip-dinoiser needs heads, other methods have none"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _has_its_parts(self) -> Self:
        wanted = PARTS.get(self.method, (set(),))
        no_clip = self.method in WITHOUT_CLIP
        sets = [self.parts.keys(), *([self.other_parts.keys()] if self.other_parts else [])]
        if any(some not in wanted for some in sets) or (self.clip is None) != no_clip:
            msg = (
                f"{self.name}: the method {self.method} needs the parts "
                f"{' or '.join(str(sorted(some)) for some in wanted)} and "
                f"{'no' if no_clip else 'a'} clip, has {' and '.join(map(str, map(sorted, sets)))}"
            )
            raise ValueError(msg)
        return self

    @property
    def parts_here(self) -> dict[str, WeightFile]:
        """``parts``, or ``other_parts`` if only these are all on this machine."""

        def here(parts: dict[str, WeightFile]) -> bool:
            return bool(parts) and all(file.locate() is not None for file in parts.values())

        return self.other_parts if here(self.other_parts) and not here(self.parts) else self.parts

    @property
    def background(self) -> Background:
        """What a class "background" means to the model.

        "objectness": decided by the model's objectness and the words;
        "threshold": whatever resembles none of the classes, the words do not
        count; "class": a class like any other, found by its words alone.
        """
        return self.variation.background if self.variation else BACKGROUNDS[self.method]

    @property
    def takes_heads(self) -> bool:
        """Whether the model can be loaded with custom heads."""
        reads_heads = self.variation is None or self.variation.uses_heads
        return self.method in VARIED and reads_heads

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """All files of the model, the CLIP first."""
        files = (self.clip, self.heads, self.config, *self.parts_here.values())
        return tuple(file for file in files if file is not None)

    def read_config(self) -> dict[str, Any] | None:
        """Read the configuration of an embedded architecture; None if open_clip has it."""
        if self.config is None:
            return None
        config: dict[str, Any] = json.loads(self.config.place().read_text(encoding="utf-8"))
        return config


class TeacherEntry(FrozenModel):
    """A self-supervised ViT that heads learn from; ``decoder`` turns its keys into objectness."""

    name: str
    description: str
    licence: str
    citation: str
    source: str
    backbone: WeightFile
    decoder: WeightFile | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What users need to know to choose a model.

    ``size`` is the total in bytes: exact for files on this machine, approximate for
    those still to be downloaded.
    """

    name: str
    licence: str
    size: int
    cached: bool
    source: str
    description: str


def list_models() -> list[ModelInfo]:
    """List the models that can be loaded by name.

    Returns
    -------
    list of ModelInfo
        One entry per model, the default model first; ``cached`` means that all files
        of the model are on this machine. Nothing is downloaded or loaded.
    """
    return [describe_model(name) for name in _entries()]


def describe_model(name: str) -> ModelInfo:
    """Describe one model, of the catalogue or of open_clip, as `list_models` does.

    Raises
    ------
    UnknownModelError, ModelError
        See `find_model`.
    """
    entry = find_model(name)
    paths = [file.locate() for file in entry.files]
    sizes = [
        file.approximate_size if path is None else path.stat().st_size
        for file, path in zip(entry.files, paths, strict=True)
    ]
    return ModelInfo(
        name=entry.name,
        licence=entry.licence,
        size=sum(sizes),
        cached=None not in paths,
        source=entry.source,
        description=entry.description,
    )


def find_model(name: str) -> ModelEntry:
    """Look up a model in the catalogue, or make an entry for a CLIP of open_clip.

    Parameters
    ----------
    name
        A name from `list_models`, or ``open_clip:ARCHITECTURE:WEIGHTS`` with
        open_clip's names. Only the latter imports open_clip. Either can be followed
        by settings of `Variation`: ``clip-dinoiser:pooling=clip-keys:objects=none``.

    Returns
    -------
    ModelEntry
        The model's entry.

    Raises
    ------
    UnknownModelError
        If neither the catalogue nor open_clip has such a name.
    ModelError
        If the model of open_clip cannot be used.
    SettingsError
        If the settings are wrong, or the model has none.
    """
    name, variation = split_name(_expect_name(name))
    entry = _find_unvaried(name)
    return entry if variation is None else _vary(entry, variation)


def _expect_name(given: object) -> str:
    if isinstance(given, str):
        return given
    msg = f"The model is a {type(given).__name__}, expected a name such as 'clip-dinoiser'."
    raise UnknownModelError(msg)


def _find_unvaried(name: str) -> ModelEntry:
    if name.startswith(open_clip_names.PREFIX):
        return _make_entry(name)
    entries = _entries()
    if name in entries:
        return entries[name]
    msg = (
        f"There is no model named {name!r}{did_you_mean(name.lower(), entries)}: choose one of "
        f"{', '.join(entries)}, or a ViT of open_clip, such as {open_clip_names.EXAMPLE}."
    )
    raise UnknownModelError(msg)


def _vary(entry: ModelEntry, variation: Variation) -> ModelEntry:
    """Return the entry of a model with other sources of guidance, and their files."""
    if entry.method not in VARIED:
        msg = (
            f"The model {entry.name} has no {' or '.join(Variation.model_fields)} to set, as its "
            f"method is {entry.method}; choose a model such as clip-dinoiser."
        )
        raise SettingsError(msg)
    parts: dict[str, WeightFile] = {}
    if variation.pooling.startswith("dino-"):
        parts["dino"] = find_teacher("dino-vitb16").backbone
    if variation.objects == "found":
        found = find_teacher("found")
        assert found.decoder is not None
        parts |= {"found": found.backbone, "found_decoder": found.decoder}
    changes = {
        "name": variation.name(entry.name),
        "variation": variation,
        "heads": entry.heads if variation.uses_heads else None,
        "parts": parts,
    }
    return entry.model_copy(update=changes)


def find_teacher(name: str) -> TeacherEntry:
    """Look up a teacher in the catalogue: "dino-vitb16", "found" or "dino-tiny".

    Raises
    ------
    UnknownModelError
        If the catalogue has no such teacher.
    """
    entries = {entry["name"]: entry for entry in _document()["teachers"]}
    if name not in entries:
        msg = f"There is no teacher named {name!r}: choose one of {', '.join(entries)}."
        raise UnknownModelError(msg)
    return TeacherEntry.model_validate(entries[name])


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = load_own(CATALOG_PATH.read_text(encoding="utf-8"))
    return document


@cache
def _entries() -> dict[str, ModelEntry]:
    entries = [ModelEntry.model_validate(entry) for entry in _document()["models"]]
    return {entry.name: entry for entry in entries}


def _make_entry(name: str) -> ModelEntry:
    architecture, pretrained, quick_gelu, file, patch_size = open_clip_names.find_open_clip(name)
    source = f"https://huggingface.co/{file.repo}"
    return ModelEntry(
        name=name,
        description=f"CLIP {architecture} of open_clip with weights {pretrained}, without heads.",
        method="maskclip",
        architecture=architecture,
        pretrained=pretrained,
        quick_gelu=quick_gelu,
        licence=f"see {source}",
        citation=f"see {source}",
        source=source,
        clip=file,
        patch_size=patch_size,
        windows=WindowDefaults(),
    )
