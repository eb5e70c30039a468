"""One line an image: what became of it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from dinoiser.atomic import atomic_file
from dinoiser.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = Path("records")
MERGED = RECORDS / "labels.jsonl"


class Record(BaseModel):
    """What became of one image.

    Attributes
    ----------
    image
        Its name: the path relative to the input folder, forward slashes.
    stem
        Name of its results, without a suffix: "a/b" of "masks/a/b.png".
    path
        Where the image was, absolute.
    status
        Whether it was labelled.
    digest
        SHA-256 of the image's file.
    size
        (height, width) in pixels.
    pixels
        Number of pixels of every class id, and of 255 = ignore.
    confidence
        Mean confidence of every class id's pixels; None where it has none.
    histogram
        Number of pixels by confidence, in equal steps from 0 to 1, of every
        class id that has pixels.
    seconds
        From opening the file to the last result on disk.
    error
        Why it failed, in one sentence.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    stem: str
    path: str
    status: Literal["done", "failed"]
    digest: str | None = None
    size: tuple[int, int] | None = None
    pixels: dict[int, int] = {}
    confidence: dict[int, float | None] = {}
    histogram: dict[int, tuple[int, ...]] = {}
    seconds: float = 0.0
    error: str | None = None

    @property
    def certainty(self) -> float | None:
        """Mean confidence over all pixels that are not ignored; None where all are."""
        known = [(n, self.confidence.get(label)) for label, n in self.pixels.items()]
        weighted = [(n, mean) for n, mean in known if mean is not None]
        total = sum(n for n, _ in weighted)
        return sum(n * mean for n, mean in weighted) / total if total else None


class RecordFile:
    """A file of records that one process adds to.

    Every process has a file of its own, so that none waits for another.

    Parameters
    ----------
    output
        The job's folder.
    """

    def __init__(self, output: Path) -> None:
        self.path = output / RECORDS / f"{uuid4().hex}.jsonl"

    def append(self, records: list[Record]) -> None:
        """Add records and see them onto the disk.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        append_lines(self.path, b"".join(r.model_dump_json().encode() + b"\n" for r in records))


def append_lines(path: Path, lines: bytes) -> None:
    """Add whole lines to a file and see them onto the disk.

    A line that a crash cut short stays a line of its own.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        msg = f"Cannot write {path}: {error.strerror or error}; free space on the disk."
        raise OutputError(msg) from error


def read_records(output: Path) -> Iterator[Record]:
    """Read a job's records in the order of the images' names, one an image.

    Where an image has several, one that says done counts before one that says
    failed, and of its equals the last in the last file. A line that a crash cut
    short is passed over: its image counts as not done.

    Parameters
    ----------
    output
        The job's folder.
    """
    paths = sorted((output / RECORDS).glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in paths]
        places: dict[str, _Place] = {}
        for file in files:
            _find_records(file, places)
        for name in sorted(places):
            place = places[name]
            place.file.seek(place.offset)
            yield Record.model_validate_json(place.file.readline())


class _Place(NamedTuple):
    """Where the record of an image begins."""

    file: BinaryIO
    offset: int
    done: bool


def _find_records(file: BinaryIO, places: dict[str, _Place]) -> None:
    """Note where the records of a file are; only their places are kept in memory."""
    offset = 0
    for line in file:
        try:
            record = Record.model_validate_json(line)
        except ValueError:
            pass
        else:
            done, earlier = record.status == "done", places.get(record.image)
            if earlier is None or done >= earlier.done:
                places[record.image] = _Place(file, offset, done)
        offset += len(line)


def merge_records(output: Path) -> None:
    """Gather all records into one file, in the order of the images' names.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    parts = [path for path in (output / RECORDS).glob("*.jsonl") if path != output / MERGED]
    if not parts:
        return
    with atomic_file(output / MERGED) as file:
        for record in read_records(output):
            file.write(record.model_dump_json().encode() + b"\n")
    for path in parts:
        path.unlink(missing_ok=True)


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
