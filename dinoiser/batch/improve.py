"""Learn from a job's reviewed masks, to label the others with it."""

from __future__ import annotations

from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinoiser.batch.edits_in_place import EditsInPlace
from dinoiser.batch.features import KeptFeatures
from dinoiser.batch.folder import learned_file
from dinoiser.batch.job import HISTORY
from dinoiser.batch.job_images import JobImage, has_changed, result_file
from dinoiser.batch.recorded_job import recorded_job
from dinoiser.batch.records import Record, read_records
from dinoiser.batch.relabel import plan
from dinoiser.batch.reviews import check_mask_size
from dinoiser.batch.run import Progress
from dinoiser.errors import DinoiserError, InputError, SettingsError
from dinoiser.export.png import read_mask
from dinoiser.images.reading import read_with_missing
from dinoiser.labels import ignore_label
from dinoiser.learning.learned import Learned
from dinoiser.segment.segmenter import Segmenter
from dinoiser.weights.digests import file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dinoiser.batch.job import LabelJob, Running
    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.encoded_image import EncodedImage

MOST_IMAGES = 100
"""Reviewed images to learn from, so that it takes no longer than a cup of coffee."""


class Lesson(NamedTuple):
    """What a job's reviews teach.

    Attributes
    ----------
    learned
        What was learnt.
    passed_over
        Why accepted images did not take part, by name.
    """

    learned: Learned
    passed_over: dict[str, str]


def learn_from_reviews(
    output: Path,
    *,
    running: Running | None = None,
    heads: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Lesson:
    """Learn from the masks of a job that people have accepted; nothing is written.

    Kept features are used where there are any; other images go through the
    image tower.

    Parameters
    ----------
    output, running, heads
        See `recorded_job`.
    progress
        Called before and after each image.
    cancelled
        Called before each image; True stops with `CancelledError`.

    Raises
    ------
    SettingsError
        No mask is accepted.
    InputError, ModelError, CheckpointError
        See `run`.
    """
    from dinoiser.learning.learn import learn

    reviewed = ReviewedImages(
        output, running=running, heads=heads, progress=progress, cancelled=cancelled
    )
    learned = learn(reviewed, reviewed.prompts, reviewed.pipeline)
    return Lesson(learned, reviewed.passed_over)


def before_last_improvement(output: Path) -> Learned | None:
    """Return what a job used before corrections last taught it; None for words alone.

    What was taken back does not count. Where taking back was stopped, it is the same again.

    Raises
    ------
    SettingsError
        Nothing has been learnt since its words changed, or all of it was taken back.
    """
    job, description = recorded_job(output)
    in_force, was_taken_back = list[dict[str, Any]](), False
    for one in (*description.get(HISTORY, ()), description):
        if one.get("prompts") != description["prompts"]:
            in_force.clear()
            continue
        learned = [earlier.get("learned") for earlier in in_force]
        was_taken_back = one.get("learned") in learned
        if was_taken_back:
            del in_force[learned.index(one.get("learned")) :]
        in_force.append(one)
    if was_taken_back:
        now = _learned_by(output, in_force[-1])
        if plan(output, job.prompts, learned=now).todo:
            return now
    if len(in_force) < 2:
        msg = f"{output} has learnt nothing that could be taken back."
        raise SettingsError(msg)
    return _learned_by(output, in_force[-2])


def _learned_by(output: Path, labelling: dict[str, Any]) -> Learned | None:
    """Read what a labelling of a job, as job.yaml describes it, was taught."""
    path = learned_file(output, labelling)
    return None if path is None else Learned.load(path)


def _accepted(output: Path) -> list[Record]:
    """Return the records of accepted images, evenly chosen where there are too many."""
    edits, records = EditsInPlace(output), list[Record]()
    for record in read_records(output):
        review = edits.review_of(record)
        if record.status == "done" and review is not None and review.state == "accepted":
            records.append(record)
    step = max(1.0, len(records) / MOST_IMAGES)
    return [records[int(i * step)] for i in range(min(len(records), MOST_IMAGES))]


def _load(job: LabelJob, expected: dict[str, Any]) -> SegmentationModel:
    """Load the model that the job was begun with."""
    from dinoiser.models.load import load_model

    what = job.labelling
    model = load_model(what.model, job.running.device, what.precision, heads=what.heads)
    if model.digest != expected["digest"]:
        cure = "give the --heads that it was begun with"
        if what.heads is not None:
            cure = "leave out --heads, or give those that it was begun with"
        msg = (
            f"{job.output} was labelled with other weights of {what.model} (digest "
            f"{expected['digest']}, now {model.digest}): {cure}."
        )
        raise SettingsError(msg)
    return model


class ReviewedImages:
    """The accepted images of a job: encoded, with their masks.

    Parameters
    ----------
    output, running, heads, progress, cancelled
        See `learn_from_reviews`.
    as_labelled
        Whether the pipeline uses what the job has learnt so far, as its labels
        do; else it is that of words alone.

    Attributes
    ----------
    prompts, pipeline, turn
        The job's.
    passed_over
        Why images could not be given, by name, after going through them.

    Raises
    ------
    InputError, SettingsError, ModelError, CheckpointError
        See `learn_from_reviews`.
    """

    def __init__(
        self,
        output: Path,
        *,
        running: Running | None = None,
        heads: Path | None = None,
        as_labelled: bool = False,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        job, description = recorded_job(output, running, heads)
        self._records = _accepted(job.output)
        if not self._records:
            msg = (
                f"no mask in {output} is accepted yet: review a few in napari (Review, A accepts), "
                "edit their files in an image editor, or bring corrections in with `dinoiser "
                "import`."
            )
            raise SettingsError(msg)
        self._segmenter = Segmenter(
            _load(job, description["model"]),
            job.labelling.settings,
            learned=job.labelling.load_learned() if as_labelled else None,
        )
        self.prompts, self.pipeline = job.prompts, self._segmenter.pipeline
        self.turn = job.turn
        self.passed_over: dict[str, str] = {}
        self._job = job
        self._reading = job.labelling.reading
        self._features = KeptFeatures.of(job)
        self._progress = progress
        self._cancelled = cancelled

    def __iter__(self) -> Iterator[tuple[EncodedImage, np.ndarray]]:
        """Give each image that can be read, with its mask (H, W) uint8 or uint16."""
        total = len(self._records)
        for count, record in enumerate(self._records):
            self._show(count, total)
            try:
                pair = self._read(record)
            except DinoiserError as error:
                self.passed_over[record.image] = str(error)
                continue
            yield pair
        self._show(total, total)

    def _show(self, through: int, total: int) -> None:
        if self._cancelled and self._cancelled():
            raise CancelledError
        if self._progress:
            self._progress(Progress("learn", through, total))

    def _read(self, record: Record) -> tuple[EncodedImage, np.ndarray]:
        path, output = Path(record.path), self._job.output
        image = read_with_missing(path, self._reading).rgb
        if has_changed(record, path):
            msg = "it was replaced after it was labelled"
            raise InputError(msg)
        place = result_file(output, record.stem, "png")
        mask = read_mask(place, self._job.prompts.mask_colors)
        check_mask_size(mask, (image.shape[0], image.shape[1]), place)
        if self.prompts.background is None:  # 0, which an eraser leaves, is then no class
            mask = np.where(mask == 0, ignore_label(mask.dtype), mask)
        if self._features is None:
            return self._segmenter.encode(image), mask
        digest = file_digest(path, "sha256").value
        job_image = JobImage(record.image, record.stem, record.path)
        encoded = self._features.encode(job_image, image, digest, self.pipeline)
        return encoded, mask
