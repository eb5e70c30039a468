"""The images of a job, and where their results are."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dinoiser.batch.records import read_records
from dinoiser.images.inputs import ImageFile, check_inside, output_stem, search
from dinoiser.images.job_folders import RESULTS, result_folders
from dinoiser.weights.digests import file_digest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.records import Record
    from dinoiser.images.inputs import Found


class JobImage(NamedTuple):
    """An image of a job: its name, the name of its results, and where it is."""

    name: str
    stem: str
    path: str


def result_file(output: Path, stem: str, format_name: str) -> Path:
    """Path of one of an image's results.

    Raises
    ------
    InputError
        The stem, for example one from a record, points outside the folder.
    """
    return output / RESULTS[format_name].format(check_inside(stem))


def result_files(output: Path, stem: str, formats: Iterable[str] = tuple(RESULTS)) -> list[Path]:
    """Paths of the files written for an image; the mask is always one of them."""
    wanted = {"png", *formats}
    return [result_file(output, stem, name) for name in RESULTS if name in wanted]


class Naming:
    """The names of a job's images: those with a record keep theirs, newcomers get free ones.

    An image is recognised by its path, wherever the folder that names its
    fellows has moved to. One whose path is unknown and whose name is that of a
    record is the same image if the record's path leads to the same file, such
    as by a link or another drive's letter; or, where that path is empty, if its
    content is the same.

    Parameters
    ----------
    files
        The images that the inputs hold.
    """

    def __init__(self, files: Iterable[ImageFile]) -> None:
        self._files = {as_text(str(file.path)): file for file in files}
        self._paths = {as_text(file.name): path for path, file in self._files.items()}
        self._kept: dict[str, JobImage] = {}
        self._names: set[str] = set()  # of those kept
        self._lost: dict[str, Record] = {}

    def take(self, record: Record) -> JobImage | None:
        """Take in a record; give its image, None where it is not among the inputs by its path."""
        file = self._files.get(record.path)
        if file is None or record.path in self._kept:
            self._lost[record.image] = record
            return None
        return self._keep(record, file)

    def take_back(self, name: str, stem: str) -> None:
        """Give an image its name again whose record is lost, as its review has it."""
        if name in self._lost or name in self._names:
            return
        path = self._paths.get(name)
        if path is not None and path not in self._kept:
            self._kept[path] = JobImage(name, check_inside(stem), str(self._files[path].path))
            self._names.add(name)

    def moved(self) -> Iterator[tuple[Record, JobImage]]:
        """Give the images that lie elsewhere than their records say; call it after all `take`s."""
        for path, file in self._files.items():
            record = self._lost.get(as_text(file.name))
            if path not in self._kept and record is not None and _is_same(record, file.path):
                del self._lost[record.image]
                yield record, self._keep(record, file)

    def gone(self) -> list[Record]:
        """Give the records whose images are no longer among the inputs."""
        return list(self._lost.values())

    def images(self) -> list[JobImage]:
        """Give all images of the inputs by name; call it after `moved`."""
        known = [*self._kept.values(), *(JobImage(r.image, r.stem, r.path) for r in self.gone())]
        names = {image.name for image in known}
        newcomers = []
        for path, file in self._files.items():
            if path not in self._kept:
                name = _free_name(file, names)
                names.add(as_text(name))
                newcomers.append(ImageFile(file.path, name))
        stems = output_stem(newcomers, taken=[image.stem for image in known])
        new = [
            JobImage(as_text(file.name), as_text(stems[file.name]), str(file.path))
            for file in newcomers
        ]
        return sorted([*self._kept.values(), *new], key=lambda image: image.name)

    def _keep(self, record: Record, file: ImageFile) -> JobImage:
        image = JobImage(record.image, record.stem, str(file.path))
        self._kept[as_text(image.path)] = image
        self._names.add(image.name)
        return image


def find_job_images(job: LabelJob) -> list[JobImage]:
    """Find a job's images under the names that they have, or would get."""
    naming = Naming(search_inputs(job).images)
    for record in read_records(job.output, gone=True):
        naming.take(record)
    list(naming.moved())
    return naming.images()[: job.running.limit]


def search_inputs(job: LabelJob) -> Found:
    """Search a job's inputs; what is among its own results is passed over."""
    results, found = result_folders(job.output), search(job.inputs)
    images = [
        image
        for image in found.images
        if not any(folder in image.path.parents for folder in results)
    ]
    own = job.output.resolve()
    jobs, others = (
        [folder for folder in folders if Path(folder).resolve() != own]
        for folders in (found.jobs, found.results)
    )
    return replace(found, images=images, jobs=jobs, results=others)


def has_changed(record: Record, path: str | Path) -> bool:
    """Whether an image's file is another than the one that a record tells of.

    Size and time decide, and where they differ the content: a copy is the same
    image.
    """
    try:
        status = os.stat(path)
    except OSError:  # which labelling it will name
        return True
    if record.file_size is None or (status.st_size, status.st_mtime_ns) == (
        record.file_size,
        record.modified,
    ):
        return False
    return status.st_size != record.file_size or _content(path) != record.digest


def _is_same(record: Record, path: Path) -> bool:
    """Whether an image is the one of a record, whose path leads to it or is empty."""
    try:
        return os.path.samefile(record.path, path)
    except (OSError, ValueError):  # nothing is there
        return record.digest in (None, _content(path))


def _content(path: str | Path) -> str:
    return file_digest(Path(path), "sha256").value


def _free_name(file: ImageFile, taken: Container[str]) -> str:
    """Give a name that no other image has: the file's, else with more of the folders above it."""
    name, above = file.name, file.path.parents[file.name.count("/")]
    while as_text(name) in taken and above.name:
        name, above = f"{above.name}/{name}", above.parent
    return name


def in_groups(images: Iterable[JobImage], size: int) -> Iterator[tuple[JobImage, ...]]:
    """Divide images into groups of at most `size`."""
    images = iter(images)
    while some := tuple(islice(images, size)):
        yield some


def as_text(name: str) -> str:
    """Write bytes of a file name that are not UTF-8 as backslash escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
