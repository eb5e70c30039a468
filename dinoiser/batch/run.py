"""Run a job: images in; masks, records, exports and a report out."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from dinoiser.atomic import atomic_file, remove_partial_files
from dinoiser.batch.job import CLASSES_FILE, PROMPT_FILE, read_job, refuse_other_job, write_job
from dinoiser.batch.job_images import RESULTS, JobImage, find_job_images, in_groups, result_files
from dinoiser.batch.records import RECORDS, Record, merge_records, read_records
from dinoiser.batch.reviews import REVIEWS, UNSAVED, read_reviews
from dinoiser.batch.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dinoiser.batch.engines.engine import Engine
    from dinoiser.batch.job import LabelJob

SMALL_JOB = 64
"""Number of images below which starting a cluster takes longer than it saves."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes
    ----------
    step
        "label" while images are labelled, then "export".
    through, total
        Images that this step has finished, including earlier runs', and all images.
    where
        The processes that do the work, in words.
    dashboard
        Address of the dask dashboard; None if there is none.
    record
        Record of the latest image; None at the start of a step and while exporting.
    """

    step: Literal["label", "export"]
    through: int
    total: int
    where: str = "this process"
    dashboard: str | None = None
    record: Record | None = None


def run(
    job: LabelJob,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    download_progress: Callable[[str, int, int], None] | None = None,
) -> Summary:
    """Label the images of a job.

    A script in which this starts a cluster on this machine (`scheduler`
    "local", or "auto" with many images) needs `if __name__ == "__main__":`
    around it, like any code that starts processes.

    Parameters
    ----------
    job
        The job. A folder with the same job is resumed: finished images are not
        processed again.
    progress
        Called at the start of each step and after each image.
    cancelled
        Called frequently; True stops the run, which can be resumed.
    download_progress
        See `dinoiser.load_model`.

    Returns
    -------
    Summary
        Covers this run and the ones that it resumed.

    Raises
    ------
    InputError, ModelError, ClusterError, OutputError
        The job cannot run at all, the scheduler is lost, or the disk is full;
        finished images are kept. An image that cannot be labelled is not an
        error: it is listed in the summary and in the records.
    """
    from dinoiser.batch.engines.engine import open_engine
    from dinoiser.batch.report.page import RunFigures, write_report

    # Everything that can be refused without the model is checked before it is loaded or fetched.
    start = time.perf_counter()
    job = _with_whole_paths(job)
    job.labelling.windows()  # raises if a setting does not suit the model
    images = find_job_images(job)
    _check_writable(job.output)
    summary, todo = _sort_out(job, images)
    if job.running.scheduler == "auto":
        scheduler = "local" if len(todo) >= SMALL_JOB else "sync"
        job = replace(job, running=replace(job.running, scheduler=scheduler))
    # Load the model, make sure that the folder belongs to this job, and label.
    with open_engine(job, download_progress, cancelled) as engine:
        description = engine.describe(job)
        _open_folder(job, description)
        labelled = _label(job, engine, description["model"], todo, summary, progress, cancelled)
        merge_records(job.output)
        # Exports and report are made once, when all images are labelled.
        summary.cancelled = len(todo) > labelled
        if not summary.cancelled:
            remove_partial_files(job.output)
            _export(job, summary, progress, cancelled)
        if job.results.report and not summary.cancelled:
            seconds = time.perf_counter() - start
            new = summary.done - summary.resumed
            write_report(job.output, RunFigures(seconds, new, engine.where))
    return summary


def _with_whole_paths(job: LabelJob) -> LabelJob:
    """Make paths absolute, as workers may run in other folders."""
    heads = job.labelling.heads
    labelling = replace(job.labelling, heads=heads and heads.resolve())
    return replace(job, output=job.output.resolve(), labelling=labelling)


def _sort_out(job: LabelJob, images: list[JobImage]) -> tuple[Summary, list[JobImage]]:
    """Count what earlier runs finished; return the remaining images."""
    summary = Summary(total=len(images))
    todo = {image.name: image for image in images}
    reviews = read_reviews(job.output)
    # an image is finished if its record and all files that this job asks for exist
    for record in () if job.running.overwrite else read_records(job.output):
        image, review = todo.get(record.image), reviews.get(record.image)
        corrected = bool(review and review.edited)
        if image and _is_through(job, record, image, corrected):
            del todo[record.image]
            summary.add(record)
            summary.resumed += record.status == "done"
    return summary, list(todo.values())


def _is_through(job: LabelJob, record: Record, image: JobImage, corrected: bool) -> bool:
    if record.status == "failed":
        return not job.running.retry_failed
    # a corrected mask is kept, whatever is missing
    formats = () if corrected else job.results.formats
    files = result_files(job.output, image.stem, formats)
    return record.stem == image.stem and all(path.exists() for path in files)


def _label(
    job: LabelJob,
    engine: Engine,
    model: dict[str, Any],
    todo: list[JobImage],
    summary: Summary,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> int:
    """Label the remaining images; return how many are finished."""
    shards = in_groups(todo, job.running.shard_size)
    records: Iterator[Record | None] = engine.label(job, model, shards, cancelled)
    # None comes first, so that progress is reported before the first image is done
    count = -1
    for count, record in enumerate(chain([None], records)):  # noqa: B007
        if record:
            summary.add(record)
        if progress:
            through, total = summary.through, summary.total
            progress(Progress("label", through, total, engine.where, engine.dashboard, record))
    return count


def _export(
    job: LabelJob,
    summary: Summary,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    """Write the formats that are made from the masks."""
    from dinoiser.batch.export import export

    def advance(through: int, total: int) -> None:
        if progress:
            progress(Progress("export", through, total))

    formats = [name for name in job.results.formats if name not in RESULTS]
    if formats:
        counted = advance if progress else None
        export(job.output, formats, job.results.export, progress=counted, cancelled=cancelled)
        summary.cancelled = bool(cancelled and cancelled())


def _check_writable(output: Path) -> None:
    """Check that the folder can be written to, before the model is loaded or fetched."""
    with atomic_file(output / ".probe"):
        pass
    (output / ".probe").unlink()


def _open_folder(job: LabelJob, description: dict[str, Any]) -> None:
    """Start the output folder, or make sure that it belongs to the same job."""
    from dinoiser.export.png import write_classes

    earlier = read_job(job.output)
    if earlier is not None and not job.running.overwrite:
        refuse_other_job(job.output, earlier, description)
    elif earlier is not None:
        _remove_results(job.output)
    if earlier is None or job.running.overwrite:
        # job.yaml after the prompts: a folder without it counts as new
        job.prompts.save(job.output / PROMPT_FILE)
        write_job(job.output, description)
    write_classes(job.prompts, job.output / CLASSES_FILE)


def _remove_results(output: Path) -> None:
    """Remove the results listed in the earlier job's records, and its reviews, but nothing else."""
    (output / REVIEWS).unlink(missing_ok=True)
    shutil.rmtree(output / UNSAVED, ignore_errors=True)
    # only files named in records: other files in the folder may be the user's
    for record in read_records(output):
        for path in result_files(output, record.stem):
            path.unlink(missing_ok=True)
    shutil.rmtree(output / RECORDS, ignore_errors=True)
