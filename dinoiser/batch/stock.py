"""What a job's inputs and folder hold before a run: what is through, to do, gone, changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dinoiser.atomic import remove_file
from dinoiser.batch.edits_in_place import EditsInPlace
from dinoiser.batch.exported_files import LeftFiles
from dinoiser.batch.folder import is_emptied
from dinoiser.batch.job_images import Naming, as_text, has_changed, result_file, result_files
from dinoiser.batch.records import merge_records, read_records
from dinoiser.batch.reviews import is_corrected, is_kept, read_reviews
from dinoiser.batch.summary import Summary, count_images, name_some

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.job_images import JobImage
    from dinoiser.batch.records import Record
    from dinoiser.batch.reviews import Review
    from dinoiser.images.inputs import Found


@dataclass
class Stock:
    """What a job's inputs and folder hold.

    Attributes
    ----------
    todo
        Images that are to be labelled.
    summary
        Counts what earlier runs are through with.
    gone
        Records of images that are no longer among the inputs.
    news
        Records that have changed, though nothing was labelled: of images that
        have gone, come back, or moved.
    damaged
        Whether there are lines that are no records.
    edits
        What people edited of the masks that this run would write over or remove.
    """

    todo: list[JobImage]
    summary: Summary
    gone: list[Record]
    news: list[Record]
    damaged: bool
    edits: EditsInPlace


def take_stock(job: LabelJob, found: Found) -> Stock:
    """Hold the inputs against the records of earlier runs.

    Parameters
    ----------
    job
        The job.
    found
        What its inputs hold.
    """
    naming, damaged = Naming(found.images), list[str]()
    known = _Known(job)
    if not (job.running.overwrite or is_emptied(job.output)):
        for record in read_records(job.output, gone=True, damaged=damaged):
            image = naming.take(record)
            if image is not None:
                known.judge(record, image)
        for record, image in naming.moved():
            known.judge(record, image)
        for review in known.edits.reviews.values():
            if review.edited and review.stem:
                naming.take_back(review.image, review.stem)
    if job.running.prune:
        for record in naming.gone():
            known.edits.review_of(record)
    images = naming.images()[: job.running.limit]
    known.judge_unrecorded(images)
    gone = [] if job.running.prune else naming.gone()  # of which pruning tells
    notes = [*found.notes(), *damaged, *_notes(gone, known.replaced, known.changed)]
    through = [known.through[image.name] for image in images if image.name in known.through]
    summary = Summary(len(images), notes=notes, ignore=job.prompts.ignore)
    for record in through:
        summary.add(record, known.edits.reviews.get(record.image))
    summary.resumed = summary.done
    lost = [r.model_copy(update={"gone": True}) for r in naming.gone() if not r.gone]
    todo = [image for image in images if image.name not in known.through]
    return Stock(todo, summary, naming.gone(), known.news + lost, bool(damaged), known.edits)


class _Known:
    """What earlier runs did to images that are still there.

    Attributes
    ----------
    through
        Records of the images that need nothing more, by name.
    news
        Those of them that have changed: their images have come back, or moved.
    replaced, changed
        Names of images that were replaced after they were labelled; and of those
        whose masks had been corrected by then, which stay.
    edits
        What people decided, and edited.
    """

    def __init__(self, job: LabelJob) -> None:
        self.through: dict[str, Record] = {}
        self.news: list[Record] = []
        self.replaced: list[str] = []
        self.changed: list[str] = []
        self._job = job
        self._recorded: set[str] = set()
        self.edits = EditsInPlace(job.output)

    def judge(self, record: Record, image: JobImage) -> None:
        """Decide whether an image is through."""
        self._recorded.add(record.image)
        stays = self._stays(record, image, self.edits.reviews.get(record.image))
        # only where a mask would be written over, it is looked at
        if not (stays or self._stays(record, image, self.edits.review_of(record))):
            if record.status == "done" and has_changed(record, image.path):
                self.replaced.append(record.image)
            return
        now = record.model_copy(update={"path": as_text(image.path), "gone": False})
        self.through[record.image] = now
        if now != record:
            self.news.append(now)

    def judge_unrecorded(self, images: Iterable[JobImage]) -> None:
        """Look for edits of masks whose records a kill or damage has cost."""
        if not self._job.running.overwrite:  # which looks for them itself
            for image in images:
                if image.name not in self._recorded:
                    self.edits.look(image.name, image.stem)

    def _stays(self, record: Record, image: JobImage, review: Review | None) -> bool:
        if not _is_through(self._job, record, review):
            return False
        if not has_changed(record, image.path):
            return True
        if is_corrected(review):
            self.changed.append(record.image)
        return is_corrected(review)


def prune(job: LabelJob, gone: list[Record]) -> list[str]:
    """Remove what images that are no longer among the inputs have left.

    Returns
    -------
    list of str
        What was removed, and what was kept all the same, a sentence each:
        corrected masks go only where the job discards reviews.
    """
    left, reviews = LeftFiles(job.output), read_reviews(job.output)
    going, kept = prunable(job, gone, reviews)
    for record in going:
        for path in left.of(record):
            remove_file(path)
    removed = [record.image for record in going]
    merge_records(job.output, without=set(removed))
    notes = []
    if removed:
        what = "labelled earlier and no longer among the inputs, whose results were removed"
        notes.append(_list_images(removed, what))
    if kept:
        notes.append(
            f"corrected masks were not pruned, give --discard-reviews too: {name_some(kept)}"
        )
    return notes


def prunable(
    job: LabelJob, gone: list[Record], reviews: Mapping[str, Review]
) -> tuple[list[Record], list[str]]:
    """Divide what is gone into what pruning removes, and names of corrected images that stay."""
    going: list[Record] = []
    kept: list[str] = []
    for record in gone:
        if is_corrected(reviews.get(record.image)) and not job.running.discard_reviews:
            kept.append(record.image)
        else:
            going.append(record)
    return going, kept


def _is_through(job: LabelJob, record: Record, review: Review | None) -> bool:
    if record.status == "failed":
        return not (record.blocked or job.running.retry_failed)
    if record.turn < job.turn and not is_kept(job.output, record, review):
        return False
    corrected = is_corrected(review)
    formats = () if corrected else job.results.formats  # a mask that a person corrected is kept
    there = all(map(os.path.exists, result_files(job.output, record.stem, formats)))
    return there and (corrected or not _lacks_features(job, record))


def _lacks_features(job: LabelJob, record: Record) -> bool:
    """Whether features are wanted that are not there."""
    path = result_file(job.output, record.stem, "features")
    return job.results.keep_features and not path.exists()


def _notes(gone: list[Record], replaced: list[str], changed: list[str]) -> list[str]:
    notes = []
    if gone:
        what = (
            "labelled earlier, no longer among the inputs and left out of exports (`dinoiser label "
            "--prune` removes what they left)"
        )
        notes.append(_list_images([record.image for record in gone], what))
    if replaced:
        notes.append(_list_images(replaced, "replaced since an earlier run, to be labelled anew"))
    if changed:
        what = "replaced since the mask was corrected, whose masks are kept"
        notes.append(_list_images(changed, what))
    return notes


def _list_images(names: list[str], what: str) -> str:
    return f"{count_images(len(names))} {what}: {name_some(names)}"
