"""The images of a job, and where their results are."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dinoiser.images.inputs import check_inside, find_images, output_stem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dinoiser.batch.job import LabelJob

RESULTS = {"png": "masks/{}.png", "overlay": "overlays/{}.jpg", "confidence": "confidence/{}.png"}
"""Files written while labelling, by format; all other formats are made from the masks."""
YOLO_FILE = "data.yaml"


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


def find_job_images(job: LabelJob) -> list[JobImage]:
    """Find the job's images, ignoring images among its own results."""
    results = [job.output / Path(place).parts[0] for place in RESULTS.values()]
    results.append(job.output / "panoptic")
    if (job.output / YOLO_FILE).exists():  # else a folder of this name belongs to the user
        results.append(job.output / "images")
    images = [
        image
        for image in find_images(job.inputs)
        if not any(folder in image.path.parents for folder in results)
    ]
    stems = output_stem(images)
    return [
        JobImage(as_text(i.name), as_text(stems[i.name]), str(i.path))
        for i in images[: job.running.limit]
    ]


def in_groups(images: Iterable[JobImage], size: int) -> Iterator[tuple[JobImage, ...]]:
    """Divide images into groups of at most `size`."""
    images = iter(images)
    while some := tuple(islice(images, size)):
        yield some


def as_text(name: str) -> str:
    """Write bytes of a file name that are not UTF-8 as backslash escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
