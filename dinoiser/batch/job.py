"""Define a job: images, words, a model and settings, and the file that records them."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dinoiser.atomic import write_file
from dinoiser.errors import SettingsError, refuse_settings
from dinoiser.export.options import ExportOptions
from dinoiser.images.settings import AS_STORED, ReadSettings
from dinoiser.labels import IGNORE
from dinoiser.learning.learned import Learned
from dinoiser.models.catalog import find_model
from dinoiser.plain import make_plain
from dinoiser.prompts import PromptSet
from dinoiser.safe_yaml import load_values, read_bytes, to_bytes
from dinoiser.segment.settings import SegmentSettings, is_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segment.settings import WindowSettings

FORMATS = (
    *("png", "overlay", "confidence", "coco", "panoptic", "yolo"),
    *("voc", "gray", "geotiff", "labelstudio", "cvat", "hf"),
)
DEFAULT_FORMATS = ("png", "overlay")
INDEXED_FORMATS = ("voc", "cvat")
"""Formats whose masks are always indexed, with room for 256 labels."""
SCHEDULERS = ("auto", "local", "sync")
JOB_FILE = "job.yaml"
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""Number formats as job.yaml names them, and as `dinoiser.load_model` does."""
HISTORY = "history"
"""In job.yaml: the words, and what was learnt, of each earlier labelling of the same images."""
IMPORTED = "none: imported annotations"
"""In job.yaml: the name of the model where masks were imported."""
PROMPT_FILE = "prompts.yaml"
CLASSES_FILE = "classes.json"
RECORDED_VERSIONS = ("napari-dinoiser", "torch", "open-clip-torch", "numpy", "pillow")


@dataclass(frozen=True)
class Labelling:
    """Everything that determines the masks; recorded in job.yaml.

    Attributes
    ----------
    prompts
        The classes to look for.
    model, precision, heads
        See `dinoiser.load_model`.
    settings
        How images are scaled, cut into windows and labelled.
    nodata, bands
        See `dinoiser.read_image`.
    learned
        Path or name of a file of what corrected masks taught, from `Learned.save`; None for words
        alone, or for what the job in the folder has learnt.

    Raises
    ------
    PromptError, SettingsError
        Prompts or settings have the wrong type, or no image can be read so.
    """

    prompts: PromptSet
    model: str = "clip-dinoiser"
    precision: str = "auto"
    heads: Path | None = None
    settings: SegmentSettings = field(default_factory=SegmentSettings)
    nodata: float | None = None
    bands: Sequence[int] | None = None
    learned: Path | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        PromptSet.expect(self.prompts)
        for name in ("heads", "learned"):
            given = getattr(self, name)
            object.__setattr__(self, name, None if given is None else Path(given))
        SegmentSettings.expect(self.settings)
        ReadSettings(self.nodata, self.bands)

    @property
    def reading(self) -> ReadSettings:
        """How the pixels of the images are read."""
        return ReadSettings(self.nodata, self.bands)

    def load_learned(self) -> Learned | None:
        """Read what was learnt; None for words alone.

        Raises
        ------
        CheckpointError
            It cannot be read.
        """
        return None if self.learned is None else Learned.load(self.learned)

    def check_learned(self, model: dict[str, Any] | None = None) -> None:
        """Check that what was learnt can be read, and has these classes.

        Parameters
        ----------
        model
            The model that it has to be for, as job.yaml describes it; None before that is known.

        Raises
        ------
        CheckpointError, SettingsError
            It cannot, or has not.
        """
        learned = self.load_learned()
        if learned is not None:
            learned.check_classes(self.prompts)
            if model is not None:
                learned.check_model(model["name"], model["digest"])

    def windows(self) -> WindowSettings:
        """Return how images are cut up, with the defaults of the model in the catalogue.

        Raises
        ------
        SettingsError
            The settings do not suit the model.
        UnknownModelError
            The catalogue has no such model.
        """
        return self.settings.windows(find_model(self.model).windows)


@dataclass(frozen=True)
class Results:
    """What is written in addition to the masks.

    Attributes
    ----------
    formats
        Any of `FORMATS`. Masks (png) are always written, as resuming, exporting
        and reviewing need them.
    export
        Options for annotations.
    report
        Whether to write report.html at the end.
    keep_features
        Whether to keep each image's features, so that other words and what
        corrections teach need no image tower, see `KeptFeatures`.

    Raises
    ------
    SettingsError
        A format is unknown, or none is given.
    """

    formats: Sequence[str] = DEFAULT_FORMATS
    export: ExportOptions = field(default_factory=ExportOptions)
    report: bool = True
    keep_features: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.formats, str):  # which is refused
            object.__setattr__(self, "formats", tuple(self.formats))
        refuse_settings(format_problems(self.formats))


@dataclass(frozen=True)
class Running:
    """Where and how a job runs, which does not affect its results.

    Attributes
    ----------
    device
        See `dinoiser.load_model`.
    scheduler
        "sync": in this process. "local": a dask cluster on this machine, with
        one process per GPU or, on the CPU, as many as dask suggests for its cores
        (2 for 2, 4 for 4, 8 or 16), but at most one for each 8 GB of memory. An
        address such as "tcp://host:8786": a running scheduler, whose workers must
        see the same files; if any have the resource GPU, only those are used.
        "auto": "sync" for few images, else "local".
    workers
        Number of processes in the local cluster; None for the default above.
    shard_size
        Number of images that a worker gets at a time; where there are several
        workers, fewer towards the end.
    limit
        Maximum number of images; None for all.
    overwrite
        Start anew, where a folder with an earlier job is resumed otherwise.
        Refused where people have reviewed its images.
    discard_reviews
        Let `overwrite` and `prune` delete reviews and corrected masks.
    prune
        Remove the results of images that are no longer among the inputs.
    retry_failed
        Retry images that failed in an earlier run.

    Raises
    ------
    SettingsError
        Lists all settings that are out of range.
    """

    device: str = "auto"
    scheduler: str = "auto"
    workers: int | None = None
    shard_size: int = 32
    limit: int | None = None
    overwrite: bool = False
    discard_reviews: bool = False
    prune: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        problems = []
        if self.workers is not None and self.scheduler not in ("auto", "local"):
            problems.append(
                f"workers is {self.workers}, which only a local cluster has, and scheduler is "
                f"{self.scheduler!r}: leave one of them out"
            )
        if self.scheduler not in SCHEDULERS and "://" not in str(self.scheduler):
            schedulers = ", ".join(SCHEDULERS)
            problems.append(
                f"scheduler is {self.scheduler!r}, expected {schedulers} or an address: tcp://..."
            )
        for name in ("limit", "workers", "shard_size"):
            value = getattr(self, name)
            if value is not None and not is_count(value):
                problems.append(f"{name} is {value!r}, expected a whole number, at least 1")
        refuse_settings(problems)


@dataclass(frozen=True)
class LabelJob:
    """Images to label, and how.

    Attributes
    ----------
    inputs
        Files, folders and globs.
    output
        Folder of the results, a path or its name; created if missing.
    labelling
        What determines the masks.
    results
        What is written.
    running
        Where and how it runs.
    turn
        How often the job's images were labelled anew, see `relabel`.

    Raises
    ------
    SettingsError
        A part of it has the wrong type, or a format cannot hold the classes.
    """

    inputs: Sequence[str | Path]
    output: Path
    labelling: Labelling
    results: Results = field(default_factory=Results)
    running: Running = field(default_factory=Running)
    turn: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", Path(self.output))
        kinds = {"labelling": Labelling, "results": Results, "running": Running}
        given = {name: getattr(self, name) for name in kinds}
        refuse_settings(
            [
                f"{name} is a {type(given[name]).__name__}, expected {kind.__name__}(...)"
                for name, kind in kinds.items()
                if not isinstance(given[name], kind)
            ]
        )
        refuse_settings(format_problems(self.results.formats, self.prompts))

    @property
    def prompts(self) -> PromptSet:
        """The classes to look for."""
        return self.labelling.prompts


def format_problems(formats: Sequence[str], prompts: PromptSet | None = None) -> list[str]:
    """List what is wrong with a choice of formats, of all or of some classes."""
    if isinstance(formats, str):
        return [f"formats is the text {formats!r}, expected a tuple, such as ({formats!r},)"]
    expected = f"expected {' or '.join(FORMATS)}"
    unknown = [f"format {name!r} is unknown, {expected}" for name in formats if name not in FORMATS]
    if unknown or not formats:
        return unknown or [f"no format is given, {expected}"]
    narrow = [name for name in formats if name in INDEXED_FORMATS]
    if narrow and prompts is not None and prompts.ignore != IGNORE:
        highest = max(item.id for item in prompts.classes)
        return [
            f"format {narrow[0]!r} holds class ids up to {IGNORE - 1}, but there is id {highest}: "
            "choose another, such as gray or coco"
        ]
    return []


def describe_job(labelling: Labelling, pipeline: Pipeline) -> dict[str, Any]:
    """Describe everything that determines the masks, for job.yaml."""
    # neither batch size, device nor scheduler: they do not change the masks
    model, windows = pipeline.model, pipeline.windows
    return {
        "version": 1,
        "model": {
            "name": model.name,
            "digest": model.digest,
            "precision": dtype_name(model),
            "gamma": model.gamma,
        },
        "prompts": yaml.safe_load(labelling.prompts.to_yaml()),
        "settings": {
            "short_side": windows.short_side,
            "window": windows.window,
            "stride": windows.stride,
            "whole": windows.whole,
            "antialias": windows.antialias,
            "refine": pipeline.refine,
            "delta": pipeline.delta,
            **labelling.reading.described(),
        },
        **({} if pipeline.learned is None else {"learned": pipeline.learned.identity}),
        "versions": _versions(),
    }


def describe_imported(prompts: PromptSet, reading: ReadSettings) -> dict[str, Any]:
    """Describe a job whose masks were made elsewhere, for job.yaml."""
    return {
        "version": 1,
        "model": {"name": IMPORTED},
        "prompts": yaml.safe_load(prompts.to_yaml()),
        "settings": reading.described(),
        "versions": _versions(),
    }


def is_imported(description: dict[str, Any]) -> bool:
    """Whether a job's masks were made elsewhere, by its job.yaml."""
    return description.get("model") == {"name": IMPORTED}


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in RECORDED_VERSIONS}


def dtype_name(model: SegmentationModel) -> str:
    """Name of a model's number format in job.yaml, such as "bfloat16"."""
    return str(model.dtype).removeprefix("torch.")


def format_job(output: Path, description: dict[str, Any]) -> bytes:
    """Format job.yaml.

    Raises
    ------
    SettingsError
        It would be so large that `read_job` refused it.
    """
    data = to_bytes(yaml.safe_dump(description, sort_keys=False, allow_unicode=True))
    if data is None:
        msg = (
            f"{output / JOB_FILE} would be too large to be read: there are too many classes, or "
            "the images were labelled anew too often; give another output folder."
        )
        raise SettingsError(msg)
    return data


def write_job(output: Path, description: dict[str, Any]) -> None:
    """Write job.yaml into the output folder.

    Raises
    ------
    SettingsError
        See `format_job`.
    """
    write_file(output / JOB_FILE, format_job(output, description))


def read_job(output: Path) -> dict[str, Any] | None:
    """Read job.yaml of an earlier run; None if there is none.

    Raises
    ------
    SettingsError
        The file exists but is not a job file.
    """
    path = output / JOB_FILE
    if not path.exists():
        return None
    cause: Exception | None = None
    try:
        data = read_bytes(path)
        description = None if data is None else load_values(data.decode())
    except (OSError, ValueError) as error:
        description, cause = None, error
    if not isinstance(description, dict):
        msg = f"{path} is not a job file; move it elsewhere, or give another output folder."
        raise SettingsError(msg) from cause
    return description


def reading_of(description: dict[str, Any] | None) -> ReadSettings:
    """Return how a job reads the pixels of its images.

    Parameters
    ----------
    description
        See `read_job`; files decide where it says nothing, as of imported masks.

    Raises
    ------
    SettingsError
        It says what no image can be read by.
    """
    settings = (description or {}).get("settings")
    if not isinstance(settings, dict):
        return AS_STORED
    try:
        return ReadSettings(settings.get("nodata"), settings.get("bands"))
    except SettingsError as error:
        msg = f"{JOB_FILE} does not say how images are read: {error}"
        raise SettingsError(msg) from error


def reading_in(output: Path) -> ReadSettings:
    """Return how the job in a folder reads the pixels of its images, see `reading_of`."""
    return reading_of(read_job(output))


def refuse_imported(output: Path, description: dict[str, Any]) -> None:
    """Refuse to label a folder whose masks were made elsewhere.

    Raises
    ------
    SettingsError
        They were imported.
    """
    if is_imported(description):
        msg = (
            f"{output} holds imported masks, which no words have labelled: they can be reviewed, "
            "exported and learnt from by `dinoiser train --teacher masks`; label their images "
            "into another folder."
        )
        raise SettingsError(msg)


def turn_of(description: dict[str, Any]) -> int:
    """How often a job's images were labelled anew, by its job.yaml."""
    history = description.get(HISTORY)
    return len(history) if isinstance(history, list) else 0


def refuse_other_job(output: Path, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to mix two jobs' results in one folder.

    Versions and history are recorded but not compared.

    Raises
    ------
    SettingsError
        Lists every setting that differs, with its value then and now.
    """
    # compared key by key, such as settings.window, so that the message can name what differs
    passed_over = ("versions.", HISTORY, "prompts.classes.")
    before, after = _flatten(earlier), _flatten(now)
    keys = [
        key
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key) and not key.startswith(passed_over)
    ]
    differences = [
        *_class_differences(_classes_of(earlier), _classes_of(now)),
        *(
            f"{key.partition('.')[2] or key} was {before.get(key, 'not set')}, "
            f"now {after.get(key, 'not set')}"
            for key in keys
        ),
    ]
    if differences:
        cure = "give another output folder, or --overwrite to start over"
        if all(key.startswith("prompts.") for key in keys):
            cure = f"`dinoiser relabel {output}` with these words keeps what was checked; or {cure}"
        msg = (
            f"{output} holds the results of a job with other settings "
            f"({'; '.join(differences)}); {cure}."
        )
        raise SettingsError(msg)


def _classes_of(description: dict[str, Any]) -> dict[str, Any]:
    """Return a job's classes by name."""
    prompts = description.get("prompts")
    classes = prompts.get("classes") if isinstance(prompts, dict) else None
    entries = classes if isinstance(classes, list) else []
    return {str(entry.get("name")): entry for entry in entries if isinstance(entry, dict)}


def _class_differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Say in words which classes were added, left out or changed."""
    groups = {
        "added": [name for name in after if name not in before],
        "left out": [name for name in before if name not in after],
        "changed": [name for name in after if name in before and before[name] != after[name]],
    }
    for how, names in groups.items():
        if names:
            yield f"class{'es' * (len(names) > 1)} {how}: {', '.join(names)}"


def _flatten(node: Any, key: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries, and lists of named entries, to one with dotted keys."""
    if isinstance(node, list) and all(isinstance(item, dict) and "name" in item for item in node):
        node = {str(item["name"]): item for item in node}
    if not isinstance(node, dict):
        return {key: node}
    flat: dict[str, Any] = {}
    for name, value in node.items():
        flat |= _flatten(value, f"{key}.{name}" if key else str(name))
    return flat
