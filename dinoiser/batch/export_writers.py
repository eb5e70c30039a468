"""What each format writes about a job's images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from dinoiser.atomic import atomic_file, remove_file, write_file
from dinoiser.batch.exported_files import (
    DATUMARO_IMAGES,
    datumaro_files,
    flat_stem,
    panoptic_file,
    yolo_files,
)
from dinoiser.batch.job import CLASSES_FILE
from dinoiser.batch.job_images import result_file
from dinoiser.batch.records import read_records
from dinoiser.batch.reviews import read_reviews
from dinoiser.errors import InputError, OutputError, SettingsError
from dinoiser.export import (
    CocoWriter,
    PanopticWriter,
    build_annotations,
    build_panoptic,
    build_yolo,
    is_same_place,
    link_image,
    write_classes,
    write_data_yaml,
    write_label_overlay,
    write_panoptic_png,
    write_yolo,
)
from dinoiser.images import read_labelled_image
from dinoiser.images.job_folders import FOLDERS, YOLO_FILE, YOLO_MARKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import ExitStack

    import numpy as np

    from dinoiser.batch.records import Record
    from dinoiser.export.options import ExportOptions
    from dinoiser.images.settings import ReadSettings
    from dinoiser.prompts import PromptSet


class ExportedJob(NamedTuple):
    """What is exported."""

    output: Path
    prompts: PromptSet
    options: ExportOptions
    reading: ReadSettings

    def link(self, record: Record, path: Path, *, hard: bool = False) -> None:
        """Put an image of the job into a folder that holds nothing but exports."""
        link_image(Path(record.path), path, self.reading, hard=hard, ours=True)


class Writer(Protocol):
    """What a format does for every image."""

    def make(self, record: Record, labels: np.ndarray) -> Any:
        """Build the image's part and write its own files; called from several threads."""

    def add(self, record: Record, made: Any) -> None:
        """Add the part to the files about all images; called in order, from one thread."""

    def remove(self, record: Record) -> None:
        """Take out what was exported before the image was rejected, gone, or its mask spoilt."""


def own_folder(job: ExportedJob, name: str) -> Path:
    """Give one of the `FOLDERS`.

    Raises
    ------
    OutputError
        It is there and not ours.
    """
    folder = job.output / name
    if folder.exists() and not (folder / FOLDERS[name]).is_file():
        msg = f"{folder} is in the way and not ours ({FOLDERS[name]} is missing); move it."
        raise OutputError(msg)
    return folder


def open_split(job: ExportedJob, folder: Path, stack: ExitStack) -> dict[str, BinaryIO]:
    """Begin the lists of images to train and to validate with; without a split, remove them."""
    paths = {name: folder / f"{name}.txt" for name in ("train", "val")}
    if job.options.val:
        return {name: stack.enter_context(atomic_file(path)) for name, path in paths.items()}
    for path in paths.values():  # of an earlier export, they would name what is gone
        remove_file(path)
    return {}


class OwnFiles:
    """A format without files about all images."""

    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        self.job = job
        for record in labelled_records(job.output, left_out=True):
            self.remove(record)

    def files(self, record: Record) -> Sequence[Path]:
        """Give the files that `make` writes for an image; none are its own by default."""
        return ()

    def remove(self, record: Record) -> None:
        """See `Writer`."""
        for path in self.files(record):
            remove_file(path)

    def make(self, record: Record, labels: np.ndarray) -> Any:
        """Do nothing."""

    def add(self, record: Record, made: Any) -> None:
        """Do nothing."""


class _Png(OwnFiles):
    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        write_classes(job.prompts, job.output / CLASSES_FILE)


class _Overlay(OwnFiles):
    def files(self, record: Record) -> Sequence[Path]:
        return (result_file(self.job.output, record.stem, "overlay"),)

    def make(self, record: Record, labels: np.ndarray) -> None:
        image = read_labelled_image(record.path, labels.shape, self.job.reading)
        [path] = self.files(record)
        write_label_overlay(image, labels, self.job.prompts, path)


class _Confidence(OwnFiles):
    def make(self, record: Record, labels: np.ndarray) -> None:
        if not result_file(self.job.output, record.stem, "confidence").is_file():
            msg = (
                "its confidence was not written and is only available while labelling: rerun the "
                "same `dinoiser label` command with -f confidence"
            )
            raise SettingsError(msg)


class _Coco(OwnFiles):
    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        self.folder: Path | None = None
        file = job.output / "annotations.json"
        if job.options.layout == "datumaro":
            self.folder = own_folder(job, "datumaro")
            write_classes(job.prompts, self.folder / CLASSES_FILE)
            file = self.folder / "annotations" / "instances_default.json"
        super().__init__(job, stack)
        self.file = stack.enter_context(CocoWriter(file, job.prompts))

    def files(self, record: Record) -> Sequence[Path]:
        return datumaro_files(self.folder, record) if self.folder else ()

    def make(self, record: Record, labels: np.ndarray) -> Any:
        name = record.image
        if self.folder:
            [link] = self.files(record)
            self.job.link(record, link, hard=True)
            name = link.relative_to(self.folder / DATUMARO_IMAGES).as_posix()
        annotations = build_annotations(labels, name, self.job.prompts, self.job.options)
        return name, labels.shape, annotations

    def add(self, record: Record, made: Any) -> None:
        self.file.add(*made)


class _Panoptic(OwnFiles):
    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        super().__init__(job, stack)
        writer = PanopticWriter(job.output / "panoptic.json", job.prompts, job.options)
        self.file = stack.enter_context(writer)

    def make(self, record: Record, labels: np.ndarray) -> Any:
        ids, segments = build_panoptic(labels, self.job.prompts, self.job.options)
        name = f"{record.stem}.png"
        [path] = self.files(record)
        write_panoptic_png(ids, path)
        return labels.shape, name, segments

    def files(self, record: Record) -> Sequence[Path]:
        return (panoptic_file(self.job.output, record),)

    def add(self, record: Record, made: Any) -> None:
        self.file.add(record.image, *made)


class _Yolo(OwnFiles):
    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        self.flat = job.options.flat
        self.links = self._claim(job)
        super().__init__(job, stack)
        self.names = Counter(flat_stem(r.stem) for r in labelled_records(job.output))
        for record in labelled_records(job.output):
            if "/" in record.stem:  # what was exported the other way would be read as well
                self._remove(record, flat=not self.flat)
        self.lists = open_split(job, job.output, stack)
        write_data_yaml(job.output, job.prompts, with_lists=bool(self.lists))

    def make(self, record: Record, labels: np.ndarray) -> str:
        if self.flat and self.names[flat_stem(record.stem)] > 1:
            msg = "another image has the same flat name; rename one, or export without --flat"
            raise InputError(msg)
        text = build_yolo(labels, self.job.prompts, self.job.options)
        link, lines = yolo_files(self.job.output, record, flat=self.flat)
        if self.links:
            self.job.link(record, link)
        write_yolo(text, lines)
        return link.relative_to(self.job.output).as_posix()

    def add(self, record: Record, made: str) -> None:
        if self.lists:
            subset = self.job.options.subset(record.image)
            self.lists[subset].write(f"./{made}\n".encode())

    def remove(self, record: Record) -> None:
        for flat in (False, True):
            self._remove(record, flat=flat)

    def _remove(self, record: Record, *, flat: bool) -> None:
        link, lines = yolo_files(self.job.output, record, flat=flat)
        remove_file(lines)
        if self.links:
            remove_file(link)

    def _claim(self, job: ExportedJob) -> bool:
        """Make the folders ours; give whether there are links, or the photographs lie in images/.

        Raises
        ------
        OutputError
            Something in their places is not ours; nothing was written.
        """
        marks = {name: job.output / mark for name, mark in YOLO_MARKS.items()}
        is_ours = {
            name: mark.exists() or not mark.parent.exists() or not any(mark.parent.iterdir())
            for name, mark in marks.items()
        }
        exported = any(mark.exists() for mark in marks.values())
        files = () if exported else (YOLO_FILE, "train.txt", "val.txt")
        others = [] if is_ours["labels"] else ["labels"]
        others += [name for name in files if (job.output / name).exists()]
        if not is_ours["images"]:
            in_place = (
                is_same_place(Path(r.path), yolo_files(job.output, r, flat=self.flat)[0])
                for r in labelled_records(job.output)
            )
            others += [] if all(in_place) else ["images"]
        if others:
            msg = (
                f"{job.output} holds {', '.join(others)}, which no export has written: move these "
                "away, or label the images into another folder."
            )
            raise OutputError(msg)
        for name, mark in marks.items():
            if is_ours[name]:
                write_file(mark, b"")
        return is_ours["images"]


WRITERS: dict[str, Callable[[ExportedJob, ExitStack], Writer]] = {
    "png": _Png,
    "overlay": _Overlay,
    "confidence": _Confidence,
    "coco": _Coco,
    "panoptic": _Panoptic,
    "yolo": _Yolo,
}


def labelled_records(output: Path, *, left_out: bool = False) -> Iterator[Record]:
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
