"""Export a job's masks to other formats, including corrections made to the masks."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dinoiser.batch.folder import refuse_half_emptied, refuse_links
from dinoiser.batch.job import CLASSES_FILE, PROMPT_FILE, format_problems
from dinoiser.batch.job_images import YOLO_FILE, result_file
from dinoiser.batch.records import RECORDS, read_records
from dinoiser.batch.reviews import read_reviews
from dinoiser.errors import InputError, SettingsError
from dinoiser.export import (
    CocoWriter,
    PanopticWriter,
    build_annotations,
    build_panoptic,
    build_yolo,
    link_image,
    read_mask,
    write_classes,
    write_data_yaml,
    write_label_overlay,
    write_panoptic_png,
    write_yolo,
)
from dinoiser.export.options import DEFAULTS, ExportOptions
from dinoiser.images import read_labelled_image
from dinoiser.images.inputs import check_inside
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from dinoiser.batch.records import Record

__all__ = ["ExportOptions", "export", "read_prompts"]


def export(
    output: Path,
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
        A format is unknown or none is given.
    OutputError
        A file cannot be written.
    """
    # refuse what is wrong before any file is touched
    if problems := format_problems(formats):
        raise SettingsError("; ".join(problems) + ".")
    prompts = read_prompts(output)
    refuse_half_emptied(output)
    refuse_links(output)
    _refuse_damage(output)
    job, failures = _Job(output, prompts, options), {}
    total = 0
    if progress:
        total = sum(1 for _ in _labelled(output))
        progress(0, total)
    # Masks are converted in threads, some images ahead. Results are added here in the order of
    # names, so that the files do not depend on timing.
    with suppress(_Cancelled), ExitStack() as stack:
        writers = [_WRITERS[name](job, stack) for name in dict.fromkeys(formats)]
        pool = ThreadPoolExecutor(os.cpu_count())
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


class _Job(NamedTuple):
    output: Path
    prompts: PromptSet
    options: ExportOptions


class _Writer(Protocol):
    """What a format does for every image."""

    def make(self, record: Record, labels: np.ndarray) -> Any:
        """Build the image's part and write its own files; called from several threads."""

    def add(self, record: Record, made: Any) -> None:
        """Add the part to the files about all images; called in order, from one thread."""

    def remove(self, record: Record) -> None:
        """Take out what was exported before the image was rejected, gone, or its mask spoilt."""


class _OwnFiles:
    """A format without files about all images."""

    def __init__(self, job: _Job, stack: ExitStack) -> None:
        self.job = job
        for record in _labelled(job.output, left_out=True):
            self.remove(record)

    def remove(self, record: Record) -> None:
        """See `_Writer`."""

    def make(self, record: Record, labels: np.ndarray) -> Any:
        """Do nothing."""

    def add(self, record: Record, made: Any) -> None:
        """Do nothing."""


class _Png(_OwnFiles):
    def __init__(self, job: _Job, stack: ExitStack) -> None:
        write_classes(job.prompts, job.output / CLASSES_FILE)


class _Overlay(_OwnFiles):
    def remove(self, record: Record) -> None:
        result_file(self.job.output, record.stem, "overlay").unlink(missing_ok=True)

    def make(self, record: Record, labels: np.ndarray) -> None:
        image = read_labelled_image(record.path, labels.shape)
        path = result_file(self.job.output, record.stem, "overlay")
        write_label_overlay(image, labels, self.job.prompts, path)


class _Confidence(_OwnFiles):
    def make(self, record: Record, labels: np.ndarray) -> None:
        if not result_file(self.job.output, record.stem, "confidence").is_file():
            msg = (
                "its confidence was not written and is only available while labelling: rerun the "
                "same `dinoiser label` command with -f confidence"
            )
            raise SettingsError(msg)


class _Coco:
    def __init__(self, job: _Job, stack: ExitStack) -> None:
        self.job = job
        self.file = stack.enter_context(CocoWriter(job.output / "annotations.json", job.prompts))

    def remove(self, record: Record) -> None:
        """Do nothing, as the file is written anew."""

    def make(self, record: Record, labels: np.ndarray) -> Any:
        annotations = build_annotations(labels, record.image, self.job.prompts, self.job.options)
        return labels.shape, annotations

    def add(self, record: Record, made: Any) -> None:
        self.file.add(record.image, *made)


class _Panoptic(_OwnFiles):
    def __init__(self, job: _Job, stack: ExitStack) -> None:
        super().__init__(job, stack)
        writer = PanopticWriter(job.output / "panoptic.json", job.prompts, job.options)
        self.file = stack.enter_context(writer)

    def make(self, record: Record, labels: np.ndarray) -> Any:
        ids, segments = build_panoptic(labels, self.job.prompts, self.job.options)
        name = f"{record.stem}.png"
        write_panoptic_png(ids, self.job.output / "panoptic" / name)
        return labels.shape, name, segments

    def remove(self, record: Record) -> None:
        (self.job.output / "panoptic" / f"{check_inside(record.stem)}.png").unlink(missing_ok=True)

    def add(self, record: Record, made: Any) -> None:
        self.file.add(record.image, *made)


class _Yolo(_OwnFiles):
    def __init__(self, job: _Job, stack: ExitStack) -> None:
        super().__init__(job, stack)
        write_data_yaml(job.output, job.prompts)

    def make(self, record: Record, labels: np.ndarray) -> None:
        text = build_yolo(labels, self.job.prompts, self.job.options)
        image, link, lines = self._files(record)
        link_image(image, link)
        write_yolo(text, lines)

    def remove(self, record: Record) -> None:
        if not (self.job.output / YOLO_FILE).exists():  # a folder of the same name is the user's
            return
        image, link, lines = self._files(record)
        lines.unlink(missing_ok=True)
        # a link, or the copy made where links are impossible; never the image itself
        a_copy = link.exists() and image.exists() and not link.samefile(image)
        if link.is_symlink() or a_copy:
            link.unlink()

    def _files(self, record: Record) -> tuple[Path, Path, Path]:
        stem, image = check_inside(record.stem), Path(record.path)
        link = self.job.output / "images" / f"{stem}{image.suffix}"
        return image, link, self.job.output / "labels" / f"{stem}.txt"


_WRITERS: dict[str, Callable[[_Job, ExitStack], _Writer]] = {
    "png": _Png,
    "overlay": _Overlay,
    "confidence": _Confidence,
    "coco": _Coco,
    "panoptic": _Panoptic,
    "yolo": _Yolo,
}


def read_prompts(output: Path) -> PromptSet:
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


def _labelled(output: Path, *, left_out: bool = False) -> Iterator[Record]:
    """Give the records of labelled images: those to export, or those that are left out.

    Left out are images that a person rejected, and those that are no longer
    among the job's inputs.
    """
    reviews = read_reviews(output)
    for record in read_records(output, gone=True):
        review = reviews.get(record.image)
        is_left_out = record.gone or (review is not None and review.state == "rejected")
        if record.status == "done" and is_left_out == left_out:
            yield record


def _refuse_damage(output: Path) -> None:
    """Refuse to export fewer images than were labelled without a word."""
    damaged: list[str] = []
    for _ in read_records(output, gone=True, damaged=damaged):
        break
    if damaged:
        msg = (
            f"the records of {output} are damaged ({'; '.join(damaged)}), so that some images "
            "would be missing; run the same `dinoiser label` command again, which labels what is "
            "missing and mends them"
        )
        raise InputError(msg)


def _make_all(
    job: _Job, writers: list[_Writer], pool: ThreadPoolExecutor
) -> Iterator[tuple[Record, list[Any] | InputError]]:
    """Make the parts of all images in the order of their names, a few images ahead."""
    ahead = 2 * (os.cpu_count() or 1)  # keeps all threads busy with few images in memory
    waiting: deque[tuple[Record, Future[list[Any] | InputError]]] = deque()
    for record in _labelled(job.output):
        waiting.append((record, pool.submit(_make, job, writers, record)))
        if len(waiting) > ahead:
            first, made = waiting.popleft()
            yield first, made.result()
    for first, made in waiting:
        yield first, made.result()


def _make(job: _Job, writers: list[_Writer], record: Record) -> list[Any] | InputError:
    """Make the parts of one image, or tell why it cannot be exported."""
    try:
        labels = _read_labels(job, record)
        return [writer.make(record, labels) for writer in writers]
    except SettingsError as error:
        msg = f"{record.image}: {error}"
        raise SettingsError(msg) from error
    except InputError as error:
        return error


def _read_labels(job: _Job, record: Record) -> np.ndarray:
    path = result_file(job.output, record.stem, "png")
    labels = read_mask(path, job.prompts.label_colors)
    if record.size and labels.shape != record.size:
        msg = (
            f"the mask {path} has {labels.shape} pixels (height, width) but its image has "
            f"{record.size}; save it at the image's size, or label the image again"
        )
        raise InputError(msg)
    return labels
