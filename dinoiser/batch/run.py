"""Running a job: pictures in, masks and records out, one after another in this process."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.batch.job import PROMPT_FILE, describe_job, read_job, refuse_other_job, write_job
from dinoiser.batch.records import RECORDS, Record, append_record, read_records
from dinoiser.errors import DinoiserError, OutputError
from dinoiser.export import write_overlay, write_png
from dinoiser.export.files import atomic_file
from dinoiser.images import read_image
from dinoiser.inputs import find_images, output_stem
from dinoiser.segmentation import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dinoiser.batch.job import LabelJob
    from dinoiser.inputs import ImageFile
    from dinoiser.segment.segmenter import Segmenter

RESULT_FOLDERS = {"png": "masks", "overlay": "overlays"}

_log = logging.getLogger(__name__)


@dataclass
class Summary:
    """How a job went, over this run and the ones it resumed.

    Attributes
    ----------
    total
        Pictures of the job.
    done, resumed
        Pictures labelled, and how many of them by an earlier run.
    failures
        Why pictures failed, by their names.
    pixels
        Number of pixels of every class id, and of 255 = ignore.
    confidence_sums
        Sum of the confidence over every class id's pixels.
    cancelled
        Whether the run was stopped before its end.
    """

    total: int
    done: int = 0
    resumed: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    pixels: dict[int, int] = field(default_factory=dict)
    confidence_sums: dict[int, float] = field(default_factory=dict)
    cancelled: bool = False

    def add(self, record: Record) -> None:
        """Count one picture."""
        if record.status == "failed":
            self.failures[record.image] = record.error or "unknown"
            return
        self.done += 1
        for label, count in record.pixels.items():
            self.pixels[label] = self.pixels.get(label, 0) + count
            mean = record.confidence.get(label) or 0.0
            self.confidence_sums[label] = self.confidence_sums.get(label, 0.0) + mean * count

    def share(self, label: int) -> float:
        """Share of a label in all labelled pixels, 0 to 1."""
        return self.pixels.get(label, 0) / max(1, sum(self.pixels.values()))

    def mean_confidence(self, label: int) -> float | None:
        """Mean confidence of a class id's pixels; None where it has none."""
        count = self.pixels.get(label, 0)
        return self.confidence_sums[label] / count if count and label != IGNORE else None


def run(
    job: LabelJob,
    *,
    progress: Callable[[Record | None, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    download_progress: Callable[[str, int, int], None] | None = None,
) -> Summary:
    """Label the pictures of a job.

    Parameters
    ----------
    job
        What to do. A folder with the same job is resumed: pictures that have
        a record are not touched again.
    progress
        Called with the latest record (None at the start), the number of
        pictures that are through, and their number in all.
    cancelled
        Asked before every picture; True stops the run, which can be resumed.
    download_progress
        See `dinoiser.load_model`.

    Raises
    ------
    InputError, ModelError, OutputError
        The job cannot run at all, or the disk is full. A picture that cannot
        be labelled is no error: it is in the summary and in the records.
    """
    from dinoiser.models.load import load_model
    from dinoiser.segment.segmenter import Segmenter

    images = _images(job)
    _check_writable(job.output)
    model = load_model(
        job.model,
        job.device,
        job.precision,
        heads=job.heads,
        progress=download_progress,
        cancelled=cancelled,
    )
    segmenter = Segmenter(model, **job.settings)
    _open_folder(job, describe_job(job, model, segmenter))
    return _label_all(job, segmenter, images, progress, cancelled)


def _label_all(
    job: LabelJob,
    segmenter: Segmenter,
    images: list[ImageFile],
    progress: Callable[[Record | None, int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Summary:
    known = {record.image: record for record in read_records(job.output)}
    stems = output_stem(images)
    summary = Summary(total=len(images))
    if progress:
        progress(None, 0, len(images))
    for through, image in enumerate(images, start=1):
        if cancelled and cancelled():
            summary.cancelled = True
            break
        record = known.get(image.name)
        if record is None or (record.status == "failed" and job.retry_failed):
            record = _label_one(job, segmenter, image, stems[image.name])
            append_record(job.output, record)
        elif record.status == "done":
            summary.resumed += 1
        summary.add(record)
        if progress:
            progress(record, through, len(images))
    return summary


def _label_one(job: LabelJob, segmenter: Segmenter, image: ImageFile, stem: str) -> Record:
    """Label a picture and write its results; whatever is wrong with it goes into the record."""
    start = time.perf_counter()
    try:
        pixels = read_image(image.path)
        result = segmenter.segment(pixels, job.prompts)
        if "png" in job.formats:
            write_png(result, job.output / RESULT_FOLDERS["png"] / f"{stem}.png")
        if "overlay" in job.formats:
            path = job.output / RESULT_FOLDERS["overlay"] / f"{stem}.jpg"
            write_overlay(pixels, result, path)
        return Record(
            image=image.name,
            status="done",
            digest=_file_digest(image.path),
            size=np.shape(result.labels),
            pixels=result.pixel_counts(),
            confidence=result.mean_confidence(),
            seconds=round(time.perf_counter() - start, 3),
        )
    except OutputError:
        raise
    except DinoiserError as error:
        reason = str(error)
    except Exception as error:
        _log.exception("labelling %s failed", image.path)
        reason = f"{type(error).__name__}: {error}"
    return Record(image=image.name, status="failed", error=reason)


def _images(job: LabelJob) -> list[ImageFile]:
    """Find the job's pictures; those in the output folder are results, not pictures."""
    output = job.output.resolve()
    images = [
        image
        for image in find_images(job.inputs)
        if not any(
            (output / folder) in image.path.resolve().parents for folder in RESULT_FOLDERS.values()
        )
    ]
    return images[: job.limit]


def _check_writable(output: Path) -> None:
    """Find out before the model is loaded, let alone fetched."""
    with atomic_file(output / ".probe"):
        pass
    (output / ".probe").unlink()


def _open_folder(job: LabelJob, description: dict) -> None:
    """Start the output folder, or make sure that it belongs to the same job."""
    earlier = read_job(job.output)
    if earlier is not None and job.overwrite:
        for folder in [RECORDS.parts[0], *RESULT_FOLDERS.values()]:
            shutil.rmtree(job.output / folder, ignore_errors=True)
    elif earlier is not None:
        refuse_other_job(job.output, earlier, description)
        return
    job.prompts.save(job.output / PROMPT_FILE)
    write_job(job.output, description)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
