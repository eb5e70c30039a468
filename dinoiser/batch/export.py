"""Export a job's masks to other formats, including corrections made to the masks."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinoiser.atomic import remove_partial_files
from dinoiser.batch.dataset_writers import DATASET_WRITERS
from dinoiser.batch.export_writers import WRITERS, ExportedJob, labelled_records
from dinoiser.batch.folder import REPORT, check_job, prompts_of, sole_writer
from dinoiser.batch.job import format_problems, reading_in
from dinoiser.batch.records import refuse_damage
from dinoiser.batch.reviews import as_labelled, read_saved_mask
from dinoiser.errors import InputError, SettingsError, refuse_settings
from dinoiser.export.options import DEFAULTS, ExportOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dinoiser.batch.export_writers import Writer
    from dinoiser.batch.records import Record

THREADS = min(os.cpu_count() or 1, 16)
"""Masks read at a time: on machines of many cores, more would take memory and not save time."""

__all__ = ["ExportOptions", "export", "export_alone"]


def export_alone(
    output: Path,
    formats: Sequence[str],
    options: ExportOptions = DEFAULTS,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Export as the only process that writes into the folder, and bring its report up to date.

    Parameters
    ----------
    output, options, progress
        See `export`.
    formats
        See `export`; none only write the report, even if there was none.

    Returns
    -------
    dict
        See `export`.

    Raises
    ------
    InputError, SettingsError, OutputError
        See `export`; also if another process writes into the folder.
    """
    from dinoiser.batch.report.page import write_report

    prompts_of(output)  # where there is no job, nothing is written, a lock neither
    with sole_writer(output, "export"):
        remove_partial_files(output)  # of exports that were killed
        failures = export(output, formats, options, progress=progress) if formats else {}
        if not formats or (output / REPORT).is_file():
            write_report(output)
    return failures


def export(
    output: str | Path,
    formats: Sequence[str],
    options: ExportOptions = DEFAULTS,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, str]:
    """Write a job's results in other formats, from the current masks.

    Parameters
    ----------
    output
        The job's folder. Images that were labelled and not rejected in a review
        are exported.
    formats
        Any of `dinoiser.batch.job.FORMATS`. "png" only writes classes.json, as
        the masks already exist. "confidence" is refused if its files do not
        exist, as masks do not contain it.
    options
        How labels become annotations.
    progress
        Called with the number of images processed and the total number.
    cancelled
        Called before every image; True stops the export. Existing JSON files
        of COCO and panoptic are then left unchanged.

    Returns
    -------
    dict
        Why images could not be exported, by name, for example because their
        masks have colours that no class has: they are left out.

    Raises
    ------
    InputError
        The folder does not contain a job, or its records are damaged.
    SettingsError
        A format is unknown or none is given, or job.yaml is damaged.
    OutputError
        A file cannot be written.
    """
    output = Path(output)
    # refuse what is wrong before any file is touched
    prompts = check_job(output)
    refuse_settings(format_problems(formats, prompts))
    refuse_damage(output)
    job = ExportedJob(output, prompts, options, reading_in(output))
    failures: dict[str, str] = {}
    total = 0
    if progress:
        total = sum(1 for _ in labelled_records(output))
        progress(0, total)
    # Masks are converted in threads, some images ahead. Results are added here in the order of
    # names, so that the files do not depend on timing.
    with suppress(_Cancelled), ExitStack() as stack:
        known = {**WRITERS, **DATASET_WRITERS}
        writers = [known[name](job, stack) for name in dict.fromkeys(formats)]
        pool = ThreadPoolExecutor(THREADS)
        stack.callback(pool.shutdown, cancel_futures=True)
        for through, (record, made) in enumerate(_make_all(job, writers, pool), start=1):
            if cancelled and cancelled():
                raise _Cancelled
            if isinstance(made, InputError):
                failures[record.image] = str(made)
                for writer in writers:
                    writer.remove(record)
            else:
                for writer, part in zip(writers, made, strict=True):
                    writer.add(record, part)
            if progress:
                progress(through, total)
    return failures


class _Cancelled(Exception):
    """Leaves the blocks of open files, which discards them."""


def _make_all(
    job: ExportedJob, writers: list[Writer], pool: ThreadPoolExecutor
) -> Iterator[tuple[Record, list[Any] | InputError]]:
    """Make the parts of all images in the order of their names, a few images ahead."""
    ahead = 2 * THREADS  # keeps all threads busy with few images in memory
    waiting: deque[tuple[Record, Future[list[Any] | InputError]]] = deque()
    for record in labelled_records(job.output):
        waiting.append((record, pool.submit(_make, job, writers, record)))
        if len(waiting) > ahead:
            first, made = waiting.popleft()
            yield first, made.result()
    for first, made in waiting:
        yield first, made.result()


def _make(job: ExportedJob, writers: list[Writer], record: Record) -> list[Any] | InputError:
    """Make the parts of one image, or tell why it cannot be exported."""
    try:
        labels = read_saved_mask(job.output, as_labelled(record), job.prompts.mask_colors)
        return [writer.make(record, labels) for writer in writers]
    except SettingsError as error:
        msg = f"{record.image}: {error}"
        raise SettingsError(msg) from error
    except InputError as error:
        return error
