"""One line a picture: what became of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dinoiser.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = Path("records") / "labels.jsonl"


class Record(BaseModel):
    """What became of one picture.

    Attributes
    ----------
    image
        Its name: the path relative to the input folder, forward slashes.
    status
        Whether it was labelled.
    digest
        SHA-256 of the picture's file.
    size
        (height, width) in pixels.
    pixels
        Number of pixels of every class id, and of 255 = ignore.
    confidence
        Mean confidence of every class id's pixels; None where it has none.
    seconds
        From opening the file to the last result on disk.
    error
        Why it failed, in one sentence.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    status: Literal["done", "failed"]
    digest: str | None = None
    size: tuple[int, int] | None = None
    pixels: dict[int, int] = {}
    confidence: dict[int, float | None] = {}
    seconds: float = 0.0
    error: str | None = None


def read_records(output: Path) -> Iterator[Record]:
    """Read the records of earlier runs, in the order in which they were written.

    A line that a crash cut short is passed over: its picture counts as not
    done.
    """
    path = output / RECORDS
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield Record.model_validate(json.loads(line))
            except (ValueError, ValidationError):
                continue


def append_record(output: Path, record: Record) -> None:
    """Add a record and see it onto the disk.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    path = output / RECORDS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")
            file.write(record.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        msg = f"Cannot write {path}: {error.strerror or error}; give a folder you may write to."
        raise OutputError(msg) from error


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
