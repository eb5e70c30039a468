"""The images of a job, and where their results lie."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dinoiser.images.inputs import check_inside, find_images, output_stem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dinoiser.batch.job import LabelJob

RESULTS = {"png": "masks/{}.png", "overlay": "overlays/{}.jpg", "confidence": "confidence/{}.png"}
"""What is written while labelling, by format; everything else is made from the masks."""
YOLO_FILE = "data.yaml"


class JobImage(NamedTuple):
    """An image of a job: its name, the name of its results, and where it is."""

    name: str
    stem: str
    path: str


def result_file(output: Path, stem: str, format_name: str) -> Path:
    """Place of one of an image's results.

    Raises
    ------
    InputError
        The stem, such as one from a record, leads out of the folder.
    """
    return output / RESULTS[format_name].format(check_inside(stem))


def result_files(output: Path, stem: str, formats: Iterable[str] = tuple(RESULTS)) -> list[Path]:
    """Files that labelling an image leaves; the mask is always one of them."""
    wanted = {"png", *formats}
    return [result_file(output, stem, name) for name in RESULTS if name in wanted]


def find_job_images(job: LabelJob) -> list[JobImage]:
    """Find the job's images; those among its own results are not images."""
    results = [job.output / Path(place).parts[0] for place in RESULTS.values()]
    results.append(job.output / "panoptic")
    if (job.output / YOLO_FILE).exists():  # else a folder of this name is the user's
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
    """Cut a list of images into groups of at most `size`."""
    images = iter(images)
    while some := tuple(islice(images, size)):
        yield some


def as_text(name: str) -> str:
    """Write out, as backslash escapes, bytes of a file's name that are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()
