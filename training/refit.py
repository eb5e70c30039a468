"""Fit heads to a folder of images and write them, as `dinoiser train` does."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinoiser.atomic import check_writable, write_file
from dinoiser.batch.folder import prompts_of
from dinoiser.errors import SettingsError
from dinoiser.export.comparison import write_comparison
from dinoiser.images.inputs import find_images
from dinoiser.images.settings import AS_STORED, ReadSettings
from dinoiser.models.catalog import find_model
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.models.load import load_clip_model
from dinoiser.models.maskclip import MaskClip
from dinoiser.weights.digests import digest

from .checkpoint import refuse_other_reading
from .config_file import refuse_to_overwrite, write_config
from .data import FEW, FOLDS, FitData, read_folder
from .fit import CHECKPOINT_FILE, Fit
from .heads_file import write_heads
from .judged_fit import JudgedFit
from .logs import has_tensorboard
from .parallel import join_workers, local_device
from .pictures import compare_labels
from .reviewed import read_reviewed
from .settings import FitSettings
from .teacher_names import check_teacher, load_teacher

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.models.clip_dinoiser import DinoiserHeads
    from dinoiser.models.maskclip import GuideBlock
    from dinoiser.prompts import PromptSet

    from .fit import FitProgress, FitResult
    from .judged_fit import Judgement
    from .parallel import Workers
    from .teachers import Teacher

AGREEMENT_FILE = "agreement.json"
LABELS_FILE = "labels.png"


@dataclass(frozen=True)
class RefitJob:
    """A job that fits heads: the model, the images and the output.

    Attributes
    ----------
    inputs
        Files, folders and globs of images; with the teacher "masks", the folder of a job.
    output
        File for the heads; other files of the fit are beside it in `folder`.
    model, device, precision
        See `dinoiser.load_model`; the precision is that of the frozen networks.
    teacher
        "dino": DINO and FOUND, as in the paper. "dino-tiny": a small embedded ViT for drawn
        scenes. "regions": regions of similar colour, which need no weights. "masks": the
        accepted masks of a job; the fit starts from the model's heads. "auto": the model's
        default. Otherwise, the name of a ViT in timm to use instead of DINO, with FOUND.
    settings
        See `FitSettings`.
    resume
        Resume the unfinished fit in `folder`.
    prompts
        Words with which images kept back are labelled by old and new heads.
    reading
        How the pixels of the images are read; with the teacher "masks", the job says that.
    """

    inputs: tuple[str, ...]
    output: Path
    model: str = "clip-dinoiser"
    device: str = "auto"
    precision: str = "auto"
    teacher: str = "auto"
    settings: FitSettings = field(default_factory=FitSettings)
    resume: bool = False
    prompts: PromptSet | None = None
    reading: ReadSettings = AS_STORED

    def __post_init__(self) -> None:
        check_teacher(self.teacher)
        if self.teacher == "masks" and len(self.inputs) != 1:
            msg = (
                f"The teacher masks needs one folder of a job, but {len(self.inputs)} paths are "
                "given: give the output folder of `dinoiser label`."
            )
            raise SettingsError(msg)
        if self.teacher == "masks" and self.reading != AS_STORED:
            msg = (
                f"{' '.join(self.reading.options())} is given, but the teacher masks reads images "
                f"as the job in {self.inputs[0]} did: leave it out."
            )
            raise SettingsError(msg)
        if self.output.suffix != ".safetensors":
            msg = (
                f"The heads cannot be written to {self.output}: give a file whose name ends in "
                ".safetensors, such as heads.safetensors."
            )
            raise SettingsError(msg)
        if self.output.is_dir() or self.folder.is_file():
            taken = self.output if self.output.is_dir() else self.folder
            msg = (
                f"The heads cannot be written to {self.output}, because there is a "
                f"{'folder' if taken is self.output else 'file'} {taken}: give another name."
            )
            raise SettingsError(msg)
        refuse_to_overwrite(self.config)
        unfinished = any(self.folder.rglob(CHECKPOINT_FILE))
        if unfinished and not self.resume:
            msg = (
                f"{self.folder} contains an unfinished fit: use --resume to continue it, or delete "
                "the folder to start over."
            )
            raise SettingsError(msg)
        if self.resume and not unfinished:
            msg = f"There is no unfinished fit in {self.folder}: omit --resume to start one."
            raise SettingsError(msg)

    @property
    def folder(self) -> Path:
        """Folder of checkpoint, log and previews."""
        return self.output.with_suffix(".fit")

    @property
    def config(self) -> Path:
        """File of all settings, for `--config`."""
        return self.output.with_suffix(".yaml")


@dataclass(frozen=True)
class RefitSummary:
    """The result of a job.

    Attributes
    ----------
    result
        Heads, steps and losses.
    judgement
        How the new heads compare with others; None if the fit is not finished.
    changed
        Share in [0, 1] of the pixels that the new heads label differently, in images kept
        back; None if no words were given.
    """

    result: FitResult
    judgement: Judgement | None = None
    changed: float | None = None


def refit(
    job: RefitJob,
    *,
    progress: Callable[[FitProgress], None] | None = None,
    say: Callable[[str], None] | None = None,
    reading: Callable[[int, int], None] | None = None,
    download_progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> RefitSummary:
    """Fit heads to images and write them.

    Parameters
    ----------
    job
        The job.
    progress
        Called every few steps.
    say
        Called with messages for the user: files that were left out, an estimate.
    reading
        Called with the number of images read and the total.
    download_progress
        Called with a file's name, the bytes downloaded and the total bytes.
    cancelled
        Called after every step; True stops the fit, which can be resumed later.

    Raises
    ------
    SettingsError
        There is a file of the heads' name already.
    OutputError
        The heads' folder cannot be written to; this and the former are known before a model
        is loaded.
    DinoiserError
        See `dinoiser.errors`.
    """
    with join_workers() as workers:
        # of several processes, only the first talks, reports and writes
        first = workers.is_first
        _check_workers(job, workers)
        say = say if say is not None and first else lambda _sentence: None
        # what can be refused without a model is, before one is loaded or fetched
        if first:
            refuse_to_overwrite_heads(job)
            check_writable(job.output.parent)
        _check_inputs(job)
        for checkpoint in job.folder.rglob(CHECKPOINT_FILE):
            refuse_other_reading(checkpoint, job.reading)
        # load model, teacher and images
        name = local_device() if job.device == "auto" else None
        model = load_clip_model(
            job.model, name or job.device, job.precision, progress=download_progress
        )
        _check_crop(job, model)
        job, start = _start(job, model)
        read = _reading_at(model, job.settings.guide_block)
        teacher_name = find_model(job.model).teacher if job.teacher == "auto" else job.teacher
        teacher = load_teacher(teacher_name, model, job.precision, download_progress)
        if teacher.similar is not None:
            job = replace(job, settings=replace(job.settings, similar=teacher.similar))
        data = _read_images(job, teacher, reading if first else None)
        _say_what_was_found(data, say)
        made_of = _made_of(job, teacher, data)

        # fit the heads; only the first process reports and writes
        def make(part: FitData, folder: Path) -> Fit:
            return Fit(read, teacher, part, job.settings, folder, made_of, workers, start, say)

        fit = JudgedFit(make, data, job.folder)
        if model.device.type == "cpu":
            say(_estimate(fit, job.settings.steps))
        result = fit.run(job.resume, progress if first else None, cancelled)
        # a cancelled fit keeps its checkpoint and writes no heads
        if not result.finished or not first:
            return RefitSummary(result)
        # compare with other heads, draw, and write
        # heads that read another block know nothing about these guides
        shipped = _shipped(model) if read is model else None
        judgement = fit.judge(shipped and shipped[0])
        changed = _draw(job, model, judgement)
        _write(job, made_of, result, judgement)
        # last, so that a crash before this can be resumed
        fit.discard_checkpoints()
        return RefitSummary(result, judgement, changed)


def refuse_to_overwrite_heads(job: RefitJob) -> None:
    """Refuse to write over heads of an earlier fit, or any other weights.

    Raises
    ------
    SettingsError
        There are some.
    """
    if job.output.exists() and not job.resume:
        msg = f"{job.output} is there already: give another name, or move the file away."
        raise SettingsError(msg)


def _check_inputs(job: RefitJob) -> None:
    """Check that there are images, or a job; how many of them can be read is known later."""
    if job.teacher == "masks":
        prompts_of(Path(job.inputs[0]))
    else:
        find_images(list(job.inputs))


def _check_workers(job: RefitJob, workers: Workers) -> None:
    if workers.count > job.settings.batch_size:
        msg = (
            f"{workers.count} processes cannot share a batch of "
            f"{job.settings.batch_size}: start fewer, or choose a larger --batch-size."
        )
        raise SettingsError(msg)


def _estimate(fit: JudgedFit, steps: int) -> str:
    hours = fit.fits[0].seconds_a_step() * fit.passes * steps / 3600
    return f"No GPU is used: {fit.passes * steps} steps take {_duration(hours)}."


def _reading_at(model: MaskClip, guide_block: GuideBlock) -> MaskClip:
    """Return the model, or its CLIP alone if its heads read another block."""
    if model.guide_block == guide_block:
        return model
    alone = MaskClip(model.clip, name=model.name, windows=model.windows)
    alone.read_guide_at(guide_block)
    return alone


def _shipped(model: MaskClip) -> tuple[DinoiserHeads, float] | None:
    """Return the model's own heads and their threshold, if it has any."""
    if not isinstance(model, ClipDinoiser):
        return None
    return copy.deepcopy(model.heads).float(), model.gamma


def _start(job: RefitJob, model: MaskClip) -> tuple[RefitJob, DinoiserHeads | None]:
    """Return the job, and the heads to start from: masks change the model's own."""
    shipped = _shipped(model) if job.teacher == "masks" else None
    if shipped is None:
        return job, None
    heads, gamma = shipped
    own: dict[str, Any] = {
        "projection_dim": heads.obj_proj.out_channels,
        "kernel_size": heads.obj_proj.kernel_size[0],
        "guide_block": model.guide_block,
        "gamma": gamma,
    }
    return replace(job, settings=replace(job.settings, **own)), heads


def _read_images(
    job: RefitJob, teacher: Teacher, reading: Callable[[int, int], None] | None
) -> FitData:
    if job.teacher == "masks":
        return read_reviewed(Path(job.inputs[0]), job.settings, reading)
    return read_folder(job.inputs, job.settings, teacher.segments, reading, job.reading)


def _check_crop(job: RefitJob, model: MaskClip) -> None:
    """Refuse crops with partial patches, which student and teacher would cover differently."""
    crop, patch = job.settings.crop, model.patch_size
    if crop % patch:
        msg = (
            f"Crops of {crop} pixels are not a multiple of the patches of {job.model}, which have "
            f"{patch} pixels: choose a multiple, such as --crop {-(-crop // patch) * patch}."
        )
        raise SettingsError(msg)


def _made_of(job: RefitJob, teacher: Teacher, data: FitData) -> dict[str, Any]:
    """Collect what determines the weights apart from the settings."""
    clip = find_model(job.model).files[0].locate()
    return {
        "model": job.model,
        "backbone": digest(clip) if clip else "",
        "teacher": teacher.name,
        "images": len(data.training),
        "data": data.digest,
        **job.reading.described(),
    }


def _say_what_was_found(data: FitData, say: Callable[[str], None]) -> None:
    for name, reason in data.unreadable.items():
        say(f"Skipped {name}: {reason}")
    count = len(data.training)
    kept_back = (
        f"{len(data.held_out)} held out for validation"
        if len(data.held_out)
        else f"each is held out from one of {FOLDS} fits, and a last one has all"
    )
    say(f"{count} images to learn from; {kept_back}.")
    if count < FEW:
        say(f"These are few images: heads fitted to fewer than {FEW} may not suit other images.")
    if not has_tensorboard():
        say("TensorBoard is not installed, so the losses are written to log.csv only.")


def _duration(hours: float) -> str:
    return f"about {hours:.1f} hours" if hours >= 1 else f"about {max(1, round(60 * hours))} min"


def _draw(job: RefitJob, model: MaskClip, judgement: Judgement) -> float | None:
    """Draw labels of old and new heads; return the share of pixels that changed."""
    if job.prompts is None:
        return None
    rows = compare_labels(model, judgement.kept_back, job.settings, job.prompts)
    write_comparison(rows, job.prompts, job.folder / LABELS_FILE)
    return 1 - sum(row.agreement for row in rows) / len(rows)


def _write(job: RefitJob, made_of: dict[str, Any], result: FitResult, judgement: Judgement) -> None:
    compared = {name: one.summary() for name, one in judgement.agreements.items()}
    facts = {
        **made_of,
        "gamma": job.settings.gamma,
        "guide_block": job.settings.guide_block,
        "settings": asdict(job.settings),
        "step": judgement.step,
        "losses": result.progress.losses(),
        "agreement": compared,
        "torch_device": job.device,
    }
    write_heads(result.heads, job.output, facts)
    networks = {"model": job.model, "precision": job.precision, "teacher": made_of["teacher"]}
    write_config(job.config, networks, job.reading, job.settings)
    write_file(job.folder / AGREEMENT_FILE, json.dumps(compared, indent=2).encode())
