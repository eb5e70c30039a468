"""Run a job: images in; masks, records, exports and a report out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from dinoiser.atomic import check_writable, remove_partial_files
from dinoiser.batch.edits_in_place import take_back_lost
from dinoiser.batch.exported_files import note_old_exports
from dinoiser.batch.folder import (
    learned_file,
    open_folder,
    refuse_links,
    refuse_to_lose_reviews,
    refuse_what_is_not_ours,
    sole_writer,
)
from dinoiser.batch.job import PRECISIONS, read_job, refuse_imported, turn_of
from dinoiser.batch.job_images import search_inputs
from dinoiser.batch.records import Record, RecordFile, merge_records
from dinoiser.batch.stock import prune, take_stock
from dinoiser.images.job_folders import RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dinoiser.batch.engines.engine import Engine
    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.job_images import JobImage
    from dinoiser.batch.stock import Stock
    from dinoiser.batch.summary import Summary
    from dinoiser.images.inputs import Found

SMALL_JOB = 64
"""Number of images below which starting a cluster takes longer than it saves."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes
    ----------
    step
        "label" while images are labelled, then "export"; "learn" while reviewed
        images are read to learn from them.
    through, total
        Images that this step has finished, including earlier runs', and all images.
    where
        The processes that do the work, in words.
    dashboard
        Address of the dask dashboard; None if there is none.
    record
        Record of the latest image; None at the start of a step and while exporting.
    """

    step: Literal["label", "export", "learn"]
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

    start = time.perf_counter()
    job = _continued(_with_whole_paths(job))
    found = _check(job)
    with sole_writer(job.output, "label"):
        stock = take_stock(job, found)
        job = with_scheduler(job, len(stock.todo))
        with open_engine(job, download_progress, cancelled) as engine:
            description = engine.describe(job)
            summary, model = stock.summary, description["model"]
            job.labelling.check_learned(model)
            open_folder(job, description)
            summary.notes += stock.edits.save()
            # After this, all other files of records are this run's.
            merge_records(job.output, mend=stock.damaged)
            RecordFile(job.output).append(stock.news)
            summary.notes += take_back_lost(job.output, stock.todo)
            labelled = label_images(job, engine, model, stock.todo, summary, progress, cancelled)
            merge_records(job.output)
            summary.cancelled = len(stock.todo) > labelled
            if not summary.cancelled:
                _tidy(job, stock, labelled)
                _export(job, summary, progress, cancelled)
            if job.results.report and not summary.cancelled:
                seconds = time.perf_counter() - start
                new = summary.done - summary.resumed
                write_report(job.output, RunFigures(seconds, new, engine.where))
    return summary


def _check(job: LabelJob) -> Found:
    """Refuse all that can be refused before the model is loaded or fetched; search the inputs."""
    job.labelling.check_learned()
    job.labelling.windows()
    if job.running.device != "auto" and "://" not in job.running.scheduler:
        from dinoiser.models.device import resolve_device  # brings torch along

        resolve_device(job.running.device)
    found = search_inputs(job)
    # Nothing is written before it is known that the folder is ours, and ours alone
    refuse_what_is_not_ours(job)
    refuse_links(job.output)
    refuse_to_lose_reviews(job)
    check_writable(job.output)
    return found


def _tidy(job: LabelJob, stock: Stock, labelled: int) -> None:
    """Remove what has no place in a folder whose images are all labelled, and note what is old."""
    pruned = prune(job, stock.gone) if job.running.prune else []
    stock.summary.notes += pruned
    remove_partial_files(job.output)
    if labelled or stock.news or pruned:
        stock.summary.notes += note_old_exports(job.output, but=job.results.formats)


def preview(job: LabelJob) -> Stock:
    """Say what a run would do: nothing is written, and no model is loaded.

    Raises
    ------
    InputError, SettingsError
        See `run`.
    """
    job = _continued(_with_whole_paths(job))
    return take_stock(job, search_inputs(job))


def with_scheduler(job: LabelJob, todo: int) -> LabelJob:
    """Decide where a job runs that leaves it open."""
    if job.running.scheduler != "auto":
        return job
    scheduler = "local" if todo >= SMALL_JOB else "sync"
    return replace(job, running=replace(job.running, scheduler=scheduler))


def _with_whole_paths(job: LabelJob) -> LabelJob:
    """Make paths absolute, as workers may run in other folders."""
    heads, learned = job.labelling.heads, job.labelling.learned
    labelling = replace(
        job.labelling, heads=heads and heads.resolve(), learned=learned and learned.resolve()
    )
    return replace(job, output=job.output.resolve(), labelling=labelling)


def _continued(job: LabelJob) -> LabelJob:
    """Take over what corrections have taught the job in the folder, how often, and its precision.

    What "auto" means may be measured, see `resolve_precision`; only the first
    run of a job does so.
    """
    earlier = None if job.running.overwrite else read_job(job.output)
    if earlier is None:
        return job
    refuse_imported(job.output, earlier)
    learned = job.labelling.learned or learned_file(job.output, earlier)
    precision = job.labelling.precision
    if precision == "auto":
        precision = _recorded_precision(earlier) or precision
    labelling = replace(job.labelling, learned=learned, precision=precision)
    return replace(job, labelling=labelling, turn=turn_of(earlier))


def _recorded_precision(earlier: dict[str, Any]) -> str | None:
    model = earlier.get("model")
    return PRECISIONS.get(str(model.get("precision"))) if isinstance(model, dict) else None


def label_images(
    job: LabelJob,
    engine: Engine,
    model: dict[str, Any],
    todo: list[JobImage],
    summary: Summary,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
) -> int:
    """Label the remaining images; return how many are finished."""
    records: Iterator[Record | None] = engine.label(job, model, todo, cancelled)
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
        shape = job.results.export
        failures = export(job.output, formats, shape, progress=counted, cancelled=cancelled)
        summary.not_exported.update(failures)
        summary.cancelled = bool(cancelled and cancelled())
