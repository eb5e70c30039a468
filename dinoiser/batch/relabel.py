"""Label a job's images anew: by other words, or with what corrections have taught.

What people have checked stays as it is. job.yaml says from the first step on what the folder is to
become and what it was, and each record in which turn it was made, so that a run that was stopped
is finished by the same command.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinoiser.atomic import remove_partial_files
from dinoiser.batch.edits_in_place import EditsInPlace
from dinoiser.batch.exported_files import note_old_exports
from dinoiser.batch.folder import learned_file, sole_writer
from dinoiser.batch.job import (
    CLASSES_FILE,
    HISTORY,
    PROMPT_FILE,
    format_job,
    refuse_other_job,
    write_job,
)
from dinoiser.batch.job_images import JobImage, result_file
from dinoiser.batch.recorded_job import read_labelling, recorded_job
from dinoiser.batch.records import Record, RecordFile, merge_records, read_records, refuse_damage
from dinoiser.batch.reviews import (
    Reviews,
    as_labelled,
    is_corrected,
    is_kept,
    masks_locked,
    read_reviews,
)
from dinoiser.batch.run import label_images, with_scheduler
from dinoiser.batch.summary import Summary, count_images, name_some
from dinoiser.errors import InputError, SettingsError
from dinoiser.export.png import read_mask, write_classes, write_mask
from dinoiser.export.png_writer import read_seal
from dinoiser.labels import as_type, ignore_among, ignore_label
from dinoiser.prompts.palette import gray_colors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dinoiser.batch.job import LabelJob, Running
    from dinoiser.batch.reviews import Review
    from dinoiser.batch.run import Progress
    from dinoiser.learning.learned import Learned
    from dinoiser.prompts import PromptSet

WHAT_TURNS = ("prompts", "learned")
"""What labelling anew changes in job.yaml."""


class Plan(NamedTuple):
    """What labelling a job anew would do.

    Attributes
    ----------
    prompts
        The classes, with the ids and colours that they have in the job.
    todo
        The images that nobody has checked.
    kept
        Number of images that people have checked, which stay as they are.
    missing
        Names of unchecked images that are not where they were, and stay.
    with_features
        Number of images of `todo` whose features are kept.
    seconds
        What labelling the others took, of one thread.
    lost
        Of classes that disappear, by name: in how many checked masks they
        are, and with how many pixels. These become 255 (ignored).
    forgets
        Whether corrections had taught the job something that will not be used.
    """

    prompts: PromptSet
    todo: list[JobImage]
    kept: int
    missing: list[str]
    with_features: int
    seconds: float
    lost: dict[str, tuple[int, int]]
    forgets: bool


def plan(output: Path, prompts: PromptSet, *, learned: Learned | None = None) -> Plan:
    """Say what labelling a job anew would do; nothing is written.

    Parameters
    ----------
    output
        The job's folder.
    prompts
        The words. Classes that the job has by name keep their ids and colours.
    learned
        What corrections have taught; None for words alone.

    Raises
    ------
    InputError, SettingsError
        See `recorded_job`; also if records are damaged.
    """
    return _Turn(*recorded_job(output), prompts, learned).plan()


def relabel(
    output: Path,
    prompts: PromptSet,
    *,
    learned: Learned | None = None,
    running: Running | None = None,
    heads: Path | None = None,
    give_up: bool = False,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Summary:
    """Label all images of a job anew that nobody has checked.

    Kept features are used where there are any; other images go through the
    image tower. Annotations have to be exported again.

    Parameters
    ----------
    output, prompts
        See `plan`.
    learned
        See `plan`.
    running, heads
        See `recorded_job`.
    give_up
        Let pixels of checked masks become 255 where their class disappears.
    progress, cancelled
        See `run`.

    Raises
    ------
    InputError, ModelError, ClusterError, OutputError
        See `run`.
    SettingsError
        The folder records another model, another one was taught, or checked masks
        would lose pixels.
    """
    from dinoiser.batch.engines.engine import open_engine
    from dinoiser.batch.report.page import write_report

    recorded, before = recorded_job(output, running, heads)
    if learned is not None:
        learned.check_model(before["model"]["name"], before["model"]["digest"])
    turn = _Turn(recorded, before, prompts, learned)
    planned = turn.plan()
    if planned.lost and not give_up:
        msg = f"{say_lost(planned.lost)}."
        raise SettingsError(msg)
    with sole_writer(turn.job.output, "relabel"):
        job = with_scheduler(turn.job, len(planned.todo))
        if learned is not None and job.labelling.learned is not None:
            learned.save(job.labelling.learned)
        with open_engine(job, None, cancelled) as engine:
            description = turn.complete(engine.describe(job))
            format_job(job.output, description)  # what is too large is refused before all else
            notes = turn.keep_edits()
            turn.begin(description)
            merge_records(job.output)
            turn.give_up_classes()
            todo, model = turn.plan().todo, description["model"]
            summary = turn.summary(todo)
            labelled = label_images(job, engine, model, todo, summary, progress, cancelled)
            merge_records(job.output)
        summary.cancelled = len(todo) > labelled
        remove_partial_files(job.output)
        if job.results.report and not summary.cancelled:
            write_report(job.output)
    summary.notes += notes
    if missing := planned.missing:
        names = name_some(missing)
        images = count_images(len(missing))
        summary.notes.append(f"{images} not found, whose masks are kept: {names}")
    if labelled or turn.is_new:
        summary.notes += note_old_exports(job.output)
    return summary


def say_lost(lost: dict[str, tuple[int, int]]) -> str:
    """Say which classes checked masks would lose, see `Plan`."""
    classes = "; ".join(
        f"{name} in {images} mask{'s' * (images > 1)}, {pixels:,} pixels"
        for name, (images, pixels) in lost.items()
    )
    return (
        f"checked masks have classes that the new words do not have ({classes}); these pixels "
        "would become 255 (ignored)"
    )


class _Turn:
    """One more labelling of a job's images, or the latest where that was not finished.

    Parameters
    ----------
    job, description
        See `recorded_job`.
    prompts, learned
        What to label with.

    Attributes
    ----------
    job
        The job as it is to become.
    is_new
        Whether it is to become another than it is.
    """

    def __init__(
        self,
        job: LabelJob,
        description: dict[str, Any],
        prompts: PromptSet,
        learned: Learned | None,
    ) -> None:
        self._before = description
        self._history = list(description.get(HISTORY, ()))
        earlier = [job.prompts, *map(read_labelling, reversed(self._history))]
        past = {item.id: item for one in reversed(earlier) for item in one.classes}
        prompts = replace(prompts.with_ids_of(*earlier), masks=job.prompts.masks)
        what = {} if learned is None else {"learned": learned.identity}
        labelling = replace(job.labelling, prompts=prompts, learned=learned_file(job.output, what))
        self._forgets = job.labelling.learned is not None and learned is None
        self.is_new = (prompts, labelling.learned) != (job.prompts, job.labelling.learned)
        self.job = replace(job, labelling=labelling, turn=job.turn + self.is_new)
        # an id is never given again, so that a mask is read alike before and after
        self._gone = {n: item for n, item in past.items() if n and n not in _ids(prompts)}

    def plan(self) -> Plan:
        """See `plan`."""
        output = self.job.output
        refuse_damage(output, torn=False)
        edits = EditsInPlace(output, self._colors())
        todo, missing, with_features, seconds = list[JobImage](), list[str](), 0, 0.0
        lost: dict[str, tuple[int, int]] = {}
        kept = 0
        for record in read_records(output):
            review = edits.review_of(record)
            if record.status == "failed" and not record.blocked:
                continue
            if is_kept(output, record, review):
                kept += 1
                for name, pixels in self._pixels_lost(record, review).items():
                    images, before = lost.get(name, (0, 0))
                    lost[name] = images + 1, before + pixels
            elif record.turn == self.job.turn:
                continue
            elif not _is_there(record):
                missing.append(record.image)
            else:
                todo.append(JobImage(record.image, record.stem, record.path))
                has_features = result_file(output, record.stem, "features").is_file()
                with_features += has_features
                seconds += 0.0 if has_features else record.seconds
        prompts, forgets = self.job.prompts, self._forgets
        return Plan(prompts, todo, kept, missing, with_features, seconds, lost, forgets)

    def keep_edits(self) -> list[str]:
        """Count masks that were edited in their place as corrected from now on; say so."""
        edits = EditsInPlace(self.job.output, self._colors())
        for record in read_records(self.job.output, gone=True):
            edits.review_of(record)
        return edits.save()

    def complete(self, description: dict[str, Any]) -> dict[str, Any]:
        """Add to a description what the job was before.

        Parameters
        ----------
        description
            Of the job as it is to become, see `describe_job`.

        Raises
        ------
        SettingsError
            The model is not the one that the folder records.
        """
        before = self._before
        same = {key: before.get(key) for key in WHAT_TURNS if key in before}
        rest = {key: value for key, value in description.items() if key not in WHAT_TURNS}
        refuse_other_job(self.job.output, before, {**rest, **same})
        history = [*self._history, *([same] if self.is_new else [])]
        return {**description, **({HISTORY: history} if history else {})}

    def begin(self, description: dict[str, Any]) -> None:
        """Say in the folder what it is to become, by its whole description."""
        output = self.job.output
        write_job(output, description)
        self.job.prompts.save(output / PROMPT_FILE)
        write_classes(self.job.prompts, output / CLASSES_FILE)

    def give_up_classes(self) -> None:
        """Ignore pixels of classes that are gone in the masks that stay; again does no harm."""
        output, prompts = self.job.output, self.job.prompts
        reviews, news = Reviews(output, prompts), list[Record]()
        colors = self._colors()
        for record in read_records(output, gone=True):
            review = reviews.latest.get(record.image)
            stays = record.gone or is_kept(output, record, review) or not _is_there(record)
            if not (stays and self._pixels_lost(record, review)):
                continue
            with suppress(InputError):  # a damaged mask, which exporting will name
                path = result_file(output, record.stem, "png")
                labels = read_mask(path, colors)
                labels[np.isin(labels, list(self._gone))] = ignore_label(labels.dtype)
                labels = as_type(labels, prompts.label_type)
                if is_corrected(review):
                    reviews.save(as_labelled(record), review.state, labels)
                    continue
                with masks_locked(output):
                    write_mask(labels, prompts, path)
                checksum = read_seal(path)
                news.append(
                    self._without_gone(record).model_copy(update={"mask_checksum": checksum})
                )
        RecordFile(output).append(news)

    def summary(self, todo: list[JobImage]) -> Summary:
        """Count the images that are through: all but those to do."""
        names = {image.name for image in todo}
        summary = Summary(0, ignore=self.job.prompts.ignore)
        reviews = read_reviews(self.job.output)
        for record in read_records(self.job.output):
            summary.total += 1
            if record.image not in names:
                summary.add(record, reviews.get(record.image))
        summary.resumed = summary.done
        return summary

    def _colors(self) -> dict[int, str]:
        """Colour of each label in masks from before and after."""
        gone = {n: item.color for n, item in self._gone.items()}
        prompts = self.job.prompts
        return {**(gray_colors(gone) if prompts.masks == "gray" else gone), **prompts.mask_colors}

    def _pixels_lost(self, record: Record, review: Review | None) -> dict[str, int]:
        """Count the pixels of classes that are gone, by name."""
        pixels = (review.pixels or {}) if is_corrected(review) else record.pixels
        ids = self._gone.keys() - {ignore_among(pixels)}  # in 8 bits, 255 was no class
        return {self._gone[n].name: count for n, count in pixels.items() if n in ids and count}

    def _without_gone(self, record: Record) -> Record:
        """Return a record with the pixels of classes that are gone as ignored ones."""
        # the mask gets the width of the new labels, so ignored pixels may have had another label
        without = self._gone.keys() | {ignore_among(record.pixels)}
        left = {n: count for n, count in record.pixels.items() if n not in without}
        left[self.job.prompts.ignore] = sum(record.pixels.values()) - sum(left.values())
        update = {
            "pixels": left,
            "confidence": {n: x for n, x in record.confidence.items() if n not in self._gone},
            "histogram": {n: x for n, x in record.histogram.items() if n not in self._gone},
        }
        return record.model_copy(update=update)


def _is_there(record: Record) -> bool:
    return os.path.isfile(record.path)


def _ids(prompts: PromptSet) -> set[int]:
    return {item.id for item in prompts.classes}
