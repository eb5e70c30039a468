"""Label a few images: from their files to results and records."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dinoiser.batch.features import KeptFeatures
from dinoiser.batch.job_images import JobImage, as_text, result_file
from dinoiser.batch.records import Record
from dinoiser.batch.reviews import CorrectedMasks, count_labels, masks_locked
from dinoiser.batch.same_folder import SameFolder
from dinoiser.errors import (
    DeviceError,
    DinoiserError,
    ImageError,
    OutputError,
    PlaceError,
    SettingsError,
)
from dinoiser.export import (
    read_mask,
    write_confidence,
    write_label_overlay,
    write_overlay,
    write_png,
)
from dinoiser.export.png_writer import read_seal
from dinoiser.images.job_folders import RESULTS
from dinoiser.images.large_tiff import is_large_tiff
from dinoiser.images.reading import read_with_missing
from dinoiser.models.device import has_spoiled_cuda, is_out_of_memory
from dinoiser.weights.digests import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.large_images import LargeSegmentation
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segmentation import Segmentation

PIXELS_AT_ONCE = 2**24
"""Images are held in memory up to about this many pixels in total, or one at a time."""
ALL_IGNORED = (
    "all pixels are ignored, as they are transparent, hold no data or are too uncertain; if "
    "what is marked as alpha is another band, choose the colours, such as --bands 1,2,3"
)
"""What a person is told of an image of which nothing is labelled."""

_log = logging.getLogger(__name__)


class _File(NamedTuple):
    job_image: JobImage
    path: Path
    digest: str
    seconds: float


class _Opened(NamedTuple):
    job_image: JobImage
    image: np.ndarray
    missing: np.ndarray | None
    warning: str | None
    digest: str
    seconds: float


class ImageLabeller:
    """Labels images and writes their results; what is wrong with one goes into its record.

    Parameters
    ----------
    job
        The job.
    pipeline
        What labels; where its passes hold windows of several images, these
        share them.
    threads
        See `Labeller`.
    at_work
        Held by a thread except while it reads its images' files ahead, for
        example a semaphore for as many threads as there are cores.
    """

    def __init__(
        self,
        job: LabelJob,
        pipeline: Pipeline,
        threads: int | None = None,
        at_work: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.job = job
        self.pipeline = pipeline
        self.threads = threads
        self._at_work = at_work or nullcontext()
        # whoever has accepted a mask has not seen the one that labelling anew would give
        self._corrected = CorrectedMasks(job.output, checked=job.turn > 0)
        self._reading = job.labelling.reading
        self._features = KeptFeatures.of(job)
        self.folder = SameFolder(job.output)

    def label(self, images: Iterable[JobImage], records: list[Record]) -> None:
        """Label a few images.

        A mask that a person has corrected is never written over, whatever
        records say and however often an image is given out.

        Parameters
        ----------
        images
            The images.
        records
            Gets their records; where an error ends the work, those of the images
            before it.

        Raises
        ------
        OutputError
            Results cannot be written.
        SettingsError
            A batch of windows does not fit into the device's memory.
        DeviceError
            The device has failed, for the other images, too.
        """
        files: list[_File] = []
        for image in images:
            with _failure_noted(image, records):
                start = time.perf_counter()
                path = _path(image)
                digest = _digest(path)  # from here on, the system has the file in memory
                files.append(_File(image, path, digest, time.perf_counter() - start))
        with self._at_work:
            self._label_files(files, records)

    def _label_files(self, files: list[_File], records: list[Record]) -> None:
        opened: list[_Opened] = []
        for image, path, digest, seconds in files:
            with _failure_noted(image, records):
                start = time.perf_counter()
                if self._is_corrected(image):
                    records.append(self._done(image, self._read_corrected(image), digest, 0.0))
                elif is_large_tiff(path, self._reading) and not self.pipeline.windows.whole:
                    result = self._label_in_parts(image, path, digest)
                    seconds += time.perf_counter() - start
                    records.append(self._done(image, result, digest, seconds, result.warning))
                else:
                    read = read_with_missing(path, reading=self._reading)
                    seconds += time.perf_counter() - start
                    opened.append(_Opened(image, *read, digest, seconds))
            if sum(one.image.size for one in opened) > 3 * PIXELS_AT_ONCE:
                self._label_opened(opened, records)
                opened = []
        self._label_opened(opened, records)

    def _label_opened(self, opened: list[_Opened], records: list[Record]) -> None:
        start = time.perf_counter()
        results: list[Segmentation | None] = [None] * len(opened)
        if len(opened) > 1 and self._features is None:
            with suppress(Exception):  # whichever image it comes from, it fails again by itself
                results[:] = self.pipeline.segment([one.image for one in opened], self.job.prompts)
        share = (time.perf_counter() - start) / max(1, len(opened))
        for one, result in zip(opened, results, strict=True):
            job_image, image, missing, warning, digest, seconds = one
            with _failure_noted(job_image, records):
                start = time.perf_counter()
                if result is None:
                    result = self._segment(job_image, image, digest)
                result = result.ignoring(missing)
                written = self._write(job_image, image, result)
                seconds += share + time.perf_counter() - start
                records.append(self._done(job_image, written, digest, seconds, warning))

    def _segment(self, job_image: JobImage, image: np.ndarray, digest: str) -> Segmentation:
        if self._features is None:
            [result] = self.pipeline.segment([image], self.job.prompts)
            return result
        with self.folder.stays():
            encoded = self._features.encode(job_image, image, digest, self.pipeline)
        return encoded.segment(self.job.prompts)

    def _write(
        self, job_image: JobImage, image: np.ndarray, result: Segmentation
    ) -> Segmentation | _Corrected:
        """Write the results of an image; give what its mask holds then."""
        places = self._places(job_image)
        with self.folder.stays():
            try:
                with self._replacing(job_image):
                    write_png(result, places["png"])
            except _CorrectedMeanwhile:
                return self._read_corrected(job_image)
            if "confidence" in places:
                write_confidence(result, places["confidence"])
            if "overlay" in places:
                write_overlay(image, result, places["overlay"])
        return result

    def _label_in_parts(
        self, image: JobImage, path: Path, digest: str
    ) -> LargeSegmentation | _Corrected:
        from dinoiser.batch.large_images import label_large_tiff  # brings dask along

        prompts, places, kept = self.job.prompts, self._places(image), self._features
        with self.folder.stays(), suppress(_CorrectedMeanwhile):
            result = label_large_tiff(
                path,
                prompts,
                self.pipeline,
                places["png"],
                places.get("confidence"),
                threads=self.threads,
                reading=self._reading,
                features=partial(kept.in_parts, image, digest, self.pipeline) if kept else None,
                replacing=self._replacing(image),
            )
            if "overlay" in places:
                shown = result.preview_image, result.preview_labels
                write_label_overlay(*shown, prompts, places["overlay"])
            return result
        return self._read_corrected(image)

    @contextmanager
    def _replacing(self, image: JobImage) -> Iterator[None]:
        """Let a mask take its place, unless a person has corrected the one that is there."""
        if not os.path.exists(self._mask(image)):
            yield
            return
        with masks_locked(self.job.output):
            if image.name in self._corrected:  # just now, while the model was at work
                raise _CorrectedMeanwhile
            yield

    def _is_corrected(self, image: JobImage) -> bool:
        return os.path.isfile(self._mask(image)) and image.name in self._corrected

    def _read_corrected(self, image: JobImage) -> _Corrected:
        return _Corrected(read_mask(self._mask(image), self.job.prompts.mask_colors))

    def _read_seal(self, image: JobImage) -> int | None:
        with suppress(OSError):  # the next image says what has become of the folder
            return read_seal(self._mask(image))
        return None

    def _mask(self, image: JobImage) -> Path:
        return result_file(self.job.output, image.stem, "png")

    def _places(self, image: JobImage) -> dict[str, Path]:
        wanted = [name for name in ("png", *self.job.results.formats) if name in RESULTS]
        return {name: result_file(self.job.output, image.stem, name) for name in wanted}

    def _done(
        self,
        image: JobImage,
        result: Segmentation | LargeSegmentation | _Corrected,
        digest: str,
        seconds: float,
        warning: str | None = None,
    ) -> Record:
        counts = result.pixel_counts()
        if not isinstance(result, _Corrected) and counts[self.job.prompts.ignore] == sum(
            counts.values()
        ):
            warning = warning or ALL_IGNORED
        return _record(
            image,
            status="done",
            seconds=round(seconds, 3),
            warning=warning,
            digest=digest,
            turn=self.job.turn,
            mask_checksum=self._read_seal(image),
            size=result.size,
            pixels=counts,
            confidence=result.mean_confidence(),
            histogram=result.confidence_histogram(),
        )


class _CorrectedMeanwhile(Exception):
    """Leaves the labelling of an image whose mask a person has corrected."""


class _Corrected(NamedTuple):
    """A mask that a person has corrected, where the model's own is not known any more."""

    labels: np.ndarray
    warning: None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.labels.shape[0], self.labels.shape[1]

    def pixel_counts(self) -> dict[int, int]:
        return count_labels(self.labels)

    def mean_confidence(self) -> dict[int, float | None]:
        return {}

    def confidence_histogram(self) -> dict[int, tuple[int, ...]]:
        return {}


def failed_record(image: JobImage, reason: str, *, blocked: bool = False) -> Record:
    """Make the record of an image that could not be labelled, see `Record`."""
    return _record(image, status="failed", error=reason, blocked=blocked)


def _path(image: JobImage) -> Path:
    path = Path(image.path)
    if as_text(image.path) != image.path:
        name = os.fsencode(path.name)
        msg = f"its name {name!r} is not valid UTF-8, which annotation files require; rename it"
        raise ImageError(msg)
    return path


def _digest(path: Path) -> str:
    """Digest of a file; "" if it cannot be read: why not is told by reading it as an image."""
    try:
        return file_digest(path, "sha256").value if path.is_file() else ""
    except OSError:
        return ""


def _record(image: JobImage, **found: Any) -> Record:
    with suppress(OSError):  # else the image is gone
        status = os.stat(image.path)
        found |= {"file_size": status.st_size, "modified": status.st_mtime_ns}
    return Record(image=image.name, stem=image.stem, path=as_text(image.path), **found)


@contextmanager
def _failure_noted(image: JobImage, records: list[Record]) -> Iterator[None]:
    try:
        yield
    except PlaceError as error:  # of this image alone
        records.append(failed_record(image, str(error), blocked=True))
    except (OutputError, SettingsError):
        raise
    except DinoiserError as error:
        records.append(failed_record(image, str(error)))
    except Exception as error:
        if is_out_of_memory(error):
            reason = (
                "there is not enough memory for this image; use a smaller --short-side, and windows"
                " instead of --whole"
            )
            records.append(failed_record(image, reason))
            return
        if has_spoiled_cuda(error):
            said = str(error).partition("\n")[0].rstrip(".")
            msg = (
                f"The GPU cannot go on in this process ({said}): run the same command again, in "
                "napari or on your own dask workers after a restart; finished images are kept."
            )
            raise DeviceError(msg) from error
        _log.exception("labelling %s failed", image.path)
        records.append(failed_record(image, f"{type(error).__name__}: {error}"))
