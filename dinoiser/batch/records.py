"""Records: one line per image about its result."""

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
    """The result of one image.

    Attributes
    ----------
    image
        Its name: the path relative to the input folder, with forward slashes.
    stem
        Name of its results, without a suffix: "a/b" for "masks/a/b.png".
    path
        Absolute path of the image.
    status
        Whether it was labelled.
    digest
        SHA-256 of the image's file.
    size
        (height, width) in pixels.
    pixels
        Number of pixels of each class id, and of 255 = ignore.
    confidence
        Mean confidence of each class id's pixels; None if it has none.
    histogram
        Number of pixels by confidence, in equal steps from 0 to 1, for each
        class id that has pixels.
    seconds
        From opening the file to the last result on disk.
    warning
        What is probably wrong with the image, in one sentence.
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
    warning: str | None = None
    error: str | None = None

    @property
    def certainty(self) -> float | None:
        """Mean confidence over all pixels that are not ignored; None if all are."""
        known = [(n, self.confidence.get(label)) for label, n in self.pixels.items()]
        weighted = [(n, mean) for n, mean in known if mean is not None]
        total = sum(n for n, _ in weighted)
        return sum(n * mean for n, mean in weighted) / total if total else None


class RecordFile:
    """A file of records to which one process appends.

    Each process has its own file, so that no locks are needed.

    Parameters
    ----------
    output
        The job's folder.
    """

    def __init__(self, output: Path) -> None:
        self.path = output / RECORDS / f"{uuid4().hex}.jsonl"

    def append(self, records: list[Record]) -> None:
        """Append records and flush them to disk.

        Raises
        ------
        OutputError
            The records cannot be written.
        """
        append_lines(self.path, b"".join(r.model_dump_json().encode() + b"\n" for r in records))


def append_lines(path: Path, lines: bytes) -> None:
    """Append whole lines to a file and flush them to disk.

    A line that a crash cut short remains a separate line.

    Raises
    ------
    OutputError
        The lines cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # "a+b": writes go to the end, and the last byte can be read
        with path.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        msg = f"Cannot write {path}: {error.strerror or error}; free some disk space."
        raise OutputError(msg) from error


def read_records(output: Path) -> Iterator[Record]:
    """Read a job's records in the order of the images' names, one per image.

    If an image has several, "done" takes precedence over "failed", and among
    equals the last line of the newest file counts. A line that a crash cut
    short is skipped: its image counts as not done.

    Parameters
    ----------
    output
        The job's folder.
    """
    # two passes, between which only the places of records are kept: a job may have millions
    paths = sorted((output / RECORDS).glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in paths]
        places: dict[str, _Place] = {}
        for file in files:
            _find_records(file, places)
        # read each record again where it is, in the order of names
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
    """Note where in a file the records are; only these places are kept in memory."""
    offset = 0
    for line in file:
        try:
            record = Record.model_validate_json(line)
        except ValueError:  # cut short by a crash
            pass
        else:
            done, earlier = record.status == "done", places.get(record.image)
            if earlier is None or done >= earlier.done:
                places[record.image] = _Place(file, offset, done)
        offset += len(line)


def merge_records(output: Path) -> None:
    """Merge all records into one file, in the order of the images' names.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    parts = [path for path in (output / RECORDS).glob("*.jsonl") if path != output / MERGED]
    if not parts:
        return
    with atomic_file(output / MERGED) as file:
        for record in read_records(output):
            file.write(record.model_dump_json().encode() + b"\n")
    # only now: a crash before this leaves records twice, which reading resolves
    for path in parts:
        path.unlink(missing_ok=True)


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
