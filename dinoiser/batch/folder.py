"""A job's folder: whose it is, who writes in it, how it begins, and how it begins anew."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import filelock

from dinoiser.atomic import remove_file, remove_folder, remove_partial_files, write_file
from dinoiser.batch.edits_in_place import EditsInPlace
from dinoiser.batch.exported_files import OF_FORMAT, LeftFiles
from dinoiser.batch.job import (
    CLASSES_FILE,
    JOB_FILE,
    PROMPT_FILE,
    format_job,
    read_job,
    refuse_other_job,
    write_job,
)
from dinoiser.batch.job_images import result_file
from dinoiser.batch.records import RECORDS, read_records
from dinoiser.batch.reviews import REVIEWS, UNSAVED
from dinoiser.batch.summary import count_images
from dinoiser.errors import InputError, OutputError, SettingsError
from dinoiser.learning.learned import Learned
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dinoiser.batch.job import LabelJob

LEARNED = "learned"
"""Folder of what corrections have taught, now and earlier."""
LOCK = ".lock"
WRITER = ".writer.json"
"""Says who holds the lock: opening the lock's own file empties it."""
OVERWRITING = "overwriting"
"""Mark in job.yaml: the earlier job's results are being removed."""

ALWAYS = ("masks", str(RECORDS), str(REVIEWS), PROMPT_FILE, CLASSES_FILE)
"""What every job writes, besides what its formats say."""
REPORT = "report.html"


@contextmanager
def sole_writer(output: Path, work: str) -> Iterator[None]:
    """Be the only one that writes into a job's folder.

    Reviewing is not writing in this sense: its files are its own, and a mask
    is written by one side only, see `reviews`.

    Parameters
    ----------
    output
        The folder, which is there.
    work
        What is done, such as "label".

    Raises
    ------
    OutputError
        Somebody else writes there, or the folder cannot be written.
    """
    lock = filelock.FileLock(output / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise OutputError(_busy(output)) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"Cannot lock {output}: {reason}; give an output folder that you may write to."
        raise OutputError(msg) from error
    try:
        about = {
            "work": work,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_file(output / WRITER, json.dumps(about).encode())
        yield
    finally:
        with suppress(OSError):  # it is read only while the lock is held
            (output / WRITER).unlink()
        lock.release()


def _busy(output: Path) -> str:
    try:
        about = json.loads((output / WRITER).read_bytes())
        who = "Process {process} on {host} ({work}, since {since})".format(**about)
    except (OSError, ValueError, LookupError, TypeError):
        who = "Another process"
    return f"{who} writes into {output}: wait for it or stop it, or give another output folder."


def refuse_what_is_not_ours(job: LabelJob) -> None:
    """Refuse to begin a job where the user's own files would be in the way.

    Raises
    ------
    SettingsError
        Something lies where results go, and there is no job.
    """
    if not job.output.is_dir() or read_job(job.output) is not None:
        return
    names = [*ALWAYS, *(name for f in job.results.formats for name in OF_FORMAT.get(f, ()))]
    names += [REPORT] if job.results.report else []
    there = [name for name in names if os.path.lexists(job.output / name)]
    if there:
        msg = (
            f"{job.output} holds {', '.join(there)}, which no job of dinoiser has written and "
            "which results would go over; give another output folder, or move these away."
        )
        raise SettingsError(msg)


def refuse_links(output: Path) -> None:
    """Refuse a folder whose parts are links that lead out of it.

    Raises
    ------
    OutputError
        With the links.
    """
    names = [
        *ALWAYS,
        JOB_FILE,
        REPORT,
        str(UNSAVED),
        *(n for some in OF_FORMAT.values() for n in some),
    ]
    inside = output.resolve()
    leading_out = [
        name
        for name in names
        if (output / name).is_symlink() and inside not in (output / name).resolve().parents
    ]
    if leading_out:
        msg = (
            f"{output} holds links that lead out of it ({', '.join(leading_out)}), where nothing "
            "is written; put real files and folders in their place, or give another output folder."
        )
        raise OutputError(msg)


def refuse_to_lose_reviews(job: LabelJob) -> None:
    """Refuse to start anew over the work of people.

    Raises
    ------
    SettingsError
        There are reviews, and nothing says that they may go.
    """
    if not job.running.overwrite or job.running.discard_reviews:
        return
    checked, edited = count_reviews(job.output)
    if checked:
        msg = (
            f"{job.output} holds the reviews of {count_images(checked)}, {edited} of them with "
            "corrected masks, which --overwrite would delete; give another output folder, or "
            "--discard-reviews as well."
        )
        raise SettingsError(msg)


def count_reviews(output: Path) -> tuple[int, int]:
    """Count the images that people have checked or corrected, and those corrected."""
    edits, masks = EditsInPlace(output), result_file(output, "*", "png").parent
    recorded = {r.stem: (r.image, r.mask_checksum) for r in read_records(output, gone=True)}
    for mask in masks.rglob("*.png"):  # also those whose records are lost
        stem = mask.relative_to(masks).as_posix().removesuffix(".png")
        name, checksum = recorded.get(stem, (stem, None))
        edits.look(name, stem, checksum)
    reviews = edits.reviews.values()
    return sum(review.is_decided for review in reviews), sum(review.edited for review in reviews)


def open_folder(job: LabelJob, description: dict[str, Any]) -> None:
    """Start the output folder, or make sure that it belongs to the same job.

    Starting anew is safe to be killed at any point: job.yaml says from the
    first step on whose folder it is and that it is being emptied, so that an
    old command is refused and the new one goes on.
    """
    from dinoiser.export.png import write_classes

    format_job(job.output, description)  # what is too large is refused before anything is written
    earlier = read_job(job.output)
    emptying = earlier is not None and bool(earlier.pop(OVERWRITING, False))
    if earlier is not None and not job.running.overwrite:
        refuse_other_job(job.output, earlier, description)
    if earlier is not None and (emptying or job.running.overwrite):
        write_job(job.output, {**description, OVERWRITING: True})
        remove_results(job.output)
        emptying = True
    if earlier is None or emptying:
        job.prompts.save(job.output / PROMPT_FILE)
        _keep_learned(job, description)
        write_job(job.output, description)
    write_classes(job.prompts, job.output / CLASSES_FILE)
    remove_partial_files(job.output)


def _keep_learned(job: LabelJob, description: dict[str, Any]) -> None:
    """Copy what a job uses of another job's corrections, so that its folder is whole."""
    path = learned_file(job.output, description)
    if path is not None and job.labelling.learned is not None:
        Learned.load(job.labelling.learned).save(path)


def learned_file(output: Path, description: dict[str, Any]) -> Path | None:
    """Path of what corrections have taught a job, by its job.yaml; None if nothing has."""
    identity = description.get("learned")
    return None if identity is None else output / LEARNED / f"{str(identity)[:16]}.safetensors"


def is_emptied(output: Path) -> bool:
    """Whether a run that starts the folder anew was stopped before its end."""
    return bool((read_job(output) or {}).get(OVERWRITING))


def prompts_of(output: Path) -> PromptSet:
    """Read the classes of a job.

    Raises
    ------
    InputError
        The folder does not contain a job, or its prompt file is damaged.
    """
    if not (output / PROMPT_FILE).is_file() or not (output / RECORDS).is_dir():
        msg = (
            f"{output} does not contain a job of `dinoiser label`: {PROMPT_FILE} or {RECORDS}/ is "
            "missing; give the output folder of a job"
        )
        raise InputError(msg)
    return PromptSet.load(output / PROMPT_FILE)


def check_job(output: Path) -> PromptSet:
    """Make sure that a folder holds a job whose results can be used; return its classes.

    Raises
    ------
    InputError
        See `prompts_of`.
    SettingsError
        A run with --overwrite was stopped before its end.
    OutputError
        See `refuse_links`.
    """
    prompts = prompts_of(output)
    if is_emptied(output):
        msg = (
            f"{output} was being started anew when that was stopped: run the last "
            "`dinoiser label` command again to finish it."
        )
        raise SettingsError(msg)
    refuse_links(output)
    return prompts


def remove_results(output: Path) -> None:
    """Remove what the records of the earlier job tell of, and its reviews, and nothing else."""
    remove_file(output / REVIEWS)
    remove_folder(output / UNSAVED)
    left = LeftFiles(output)
    for record in read_records(output, gone=True):
        for path in left.of(record):
            remove_file(path)
    remove_folder(output / RECORDS)
