"""Label a few images: from their files to results and records."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dinoiser.batch.job_images import RESULTS, JobImage, as_text, result_file
from dinoiser.batch.large_images import LargeSegmentation, label_large_tiff
from dinoiser.batch.records import Record
from dinoiser.errors import DinoiserError, ImageError, OutputError, SettingsError
from dinoiser.export import write_confidence, write_label_overlay, write_overlay, write_png
from dinoiser.images.large_tiff import is_large_tiff
from dinoiser.images.reading import read_with_missing
from dinoiser.weights.digests import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from dinoiser.batch.job import LabelJob
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segmentation import Segmentation

PIXELS_AT_ONCE = 2**24
"""Images are held in memory up to about this many pixels in total, or one at a time."""

_log = logging.getLogger(__name__)


class _Opened(NamedTuple):
    job_image: JobImage
    image: np.ndarray
    missing: np.ndarray | None
    warning: str | None
    seconds: float


def label_images(
    job: LabelJob, pipeline: Pipeline, images: Iterable[JobImage], threads: int | None = None
) -> list[Record]:
    """Label images and write their results; a failure goes into the image's record.

    Parameters
    ----------
    job
        The job.
    pipeline
        The pipeline; if its passes have room for windows of several images,
        these share passes.
    images
        A few images.
    threads
        See `Labeller`.

    Raises
    ------
    OutputError
        Results cannot be written.
    SettingsError
        A batch of windows does not fit into the device's memory.
    """
    records: list[Record] = []
    opened: list[_Opened] = []
    for image in images:
        with _failure_noted(image, records):
            path, start = _path(image), time.perf_counter()
            # too large for memory: labelled in parts, by itself
            if is_large_tiff(path) and not pipeline.windows.whole:
                result = _label_in_parts(job, pipeline, path, _places(job, image), threads)
                seconds = time.perf_counter() - start
                records.append(_done(image, result, seconds, result.warning))
                continue
            read = read_with_missing(path, nodata=job.labelling.nodata)
            opened.append(_Opened(image, *read, time.perf_counter() - start))
        # `size` counts values, three per pixel
        if sum(one.image.size for one in opened) > 3 * PIXELS_AT_ONCE:
            _label_opened(job, pipeline, opened, records)
            opened = []
    _label_opened(job, pipeline, opened, records)
    return records


def failed_record(image: JobImage, reason: str) -> Record:
    """Make the record of an image that could not be labelled."""
    return _record(image, status="failed", error=reason)


def _label_opened(
    job: LabelJob, pipeline: Pipeline, opened: list[_Opened], records: list[Record]
) -> None:
    start = time.perf_counter()
    results: list[Segmentation | None] = [None] * len(opened)
    if len(opened) > 1:
        with suppress(Exception):  # retried one by one below, to find the image
            results[:] = pipeline.segment([one.image for one in opened], job.prompts)
    # each image's share of the time that they spent together
    share = (time.perf_counter() - start) / max(1, len(opened))
    for (job_image, image, missing, warning, seconds), result in zip(opened, results, strict=True):
        with _failure_noted(job_image, records):
            start = time.perf_counter()
            if result is None:
                [result] = pipeline.segment([image], job.prompts)
            result = result.ignoring(missing)
            _write(image, result, _places(job, job_image))
            seconds += share + time.perf_counter() - start
            records.append(_done(job_image, result, seconds, warning))


def _path(image: JobImage) -> Path:
    path = Path(image.path)
    if as_text(image.path) != image.path:
        name = os.fsencode(path.name)
        msg = f"its name {name!r} is not valid UTF-8, which annotation files require; rename it"
        raise ImageError(msg)
    return path


def _places(job: LabelJob, image: JobImage) -> dict[str, Path]:
    wanted = [name for name in ("png", *job.results.formats) if name in RESULTS]
    return {name: result_file(job.output, image.stem, name) for name in wanted}


def _write(image: np.ndarray, result: Segmentation, places: dict[str, Path]) -> None:
    write_png(result, places["png"])
    if "confidence" in places:
        write_confidence(result, places["confidence"])
    if "overlay" in places:
        write_overlay(image, result, places["overlay"])


def _label_in_parts(
    job: LabelJob,
    pipeline: Pipeline,
    path: Path,
    places: dict[str, Path],
    threads: int | None,
) -> LargeSegmentation:
    result = label_large_tiff(
        path,
        job.prompts,
        pipeline,
        places["png"],
        places.get("confidence"),
        threads=threads,
        nodata=job.labelling.nodata,
    )
    assert result is not None  # None only if cancelled
    if "overlay" in places:
        image, labels = result.preview_image, result.preview_labels
        write_label_overlay(image, labels, job.prompts, places["overlay"])
    return result


def _done(
    image: JobImage,
    result: Segmentation | LargeSegmentation,
    seconds: float,
    warning: str | None,
) -> Record:
    return _record(
        image,
        status="done",
        seconds=round(seconds, 3),
        warning=warning,
        digest=file_digest(Path(image.path), "sha256").value,
        size=result.size,
        pixels=result.pixel_counts(),
        confidence=result.mean_confidence(),
        histogram=result.confidence_histogram(),
    )


def _record(job_image: JobImage, **found: Any) -> Record:
    return Record(image=job_image.name, stem=job_image.stem, path=as_text(job_image.path), **found)


@contextmanager
def _failure_noted(image: JobImage, records: list[Record]) -> Iterator[None]:
    try:
        yield
    except (OutputError, SettingsError):  # they would fail for every image: stop the job
        raise
    except DinoiserError as error:
        records.append(failed_record(image, str(error)))
    except MemoryError:
        reason = "there is not enough memory for this image; use windows instead of --whole"
        records.append(failed_record(image, reason))
    except Exception as error:
        _log.exception("labelling %s failed", image.path)
        records.append(failed_record(image, f"{type(error).__name__}: {error}"))
