"""Records: one line per image about its result."""

from __future__ import annotations

import codecs
import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, NamedTuple, Self
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict

from dinoiser.atomic import atomic_file, remove_file, write_error
from dinoiser.batch.quality import expected_iou, expected_work
from dinoiser.errors import InputError
from dinoiser.images.inputs import check_inside

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

RECORDS = Path("records")
MERGED = RECORDS / "labels.jsonl"


def _inside(stem: str) -> str:
    """Take a line whose results would lie outside the job's folder for a damaged one."""
    try:
        return check_inside(stem)
    except InputError as error:
        raise ValueError(error) from error


Stem = Annotated[str, AfterValidator(_inside)]
"""Name of an image's results in a file that may be damaged, or made to do harm."""


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
    file_size, modified
        Bytes of the image's file and when it was last changed, in nanoseconds:
        an image that has been replaced since is told by them.
    gone
        Whether the image was no longer among the job's inputs when they were
        last looked at: its results are kept, and left out of exports.
    turn
        How often the job's images had been labelled anew when this was made,
        see `relabel`.
    size
        (height, width) in pixels.
    pixels
        Number of pixels of each class id, and of ignored pixels: 255, or
        65535 where there are ids above 254.
    confidence
        Mean confidence of each class id's pixels; None if it has none.
    histogram
        Number of pixels by confidence, in equal steps from 0 to 1, for each
        class id that has pixels.
    mask_checksum
        Adler-32 of the mask's pixels, see `pixels_checksum`; None in earlier records.
    seconds
        From opening the file to the last result on disk.
    warning
        What is probably wrong with the image, in one sentence.
    error
        Why it failed, in one sentence.
    blocked
        Whether it failed because a result could not have its place, such as that
        of a mask which another program has open: the next run tries it again.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    stem: Stem
    path: str
    status: Literal["done", "failed"]
    digest: str | None = None
    file_size: int | None = None
    modified: int | None = None
    gone: bool = False
    turn: int = 0
    size: tuple[int, int] | None = None
    pixels: dict[int, int] = {}
    confidence: dict[int, float | None] = {}
    histogram: dict[int, tuple[int, ...]] = {}
    mask_checksum: int | None = None
    seconds: float = 0.0
    warning: str | None = None
    error: str | None = None
    blocked: bool = False

    @property
    def expected_iou(self) -> float | None:
        """How good the mask probably is, see `dinoiser.batch.quality`."""
        return expected_iou(self.pixels, self.confidence)

    @property
    def expected_work(self) -> float | None:
        """How much there is to correct, see `dinoiser.batch.quality`."""
        return expected_work(self.pixels, self.confidence)


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
        if records:
            append_lines(self.path, b"".join(r.model_dump_json().encode() + b"\n" for r in records))


def append_lines(path: Path, lines: bytes) -> None:
    """Append whole lines to a file and flush them to disk.

    A line that a crash cut short remains a separate line. The file's folder is
    made, but none above it: a job's folder that was moved away is not made again.

    Raises
    ------
    OutputError
        The lines cannot be written.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        # "a+b": writes go to the end, and the last byte can be read
        with path.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise write_error(path, error) from error


def read_records(
    output: Path, *, gone: bool = False, damaged: list[str] | None = None
) -> Iterator[Record]:
    """Read a job's records in the order of the images' names, one per image.

    Where an image has several, the newest run's counts; of one run's, one that
    says done counts before one that says failed, and of its equals the last.

    Parameters
    ----------
    output
        The job's folder.
    gone
        Whether to give those of images that are no longer among the inputs, too.
    damaged
        Gets a sentence about every file with lines that are no records, such as
        one that a crash cut short: their images count as not done.
    """
    paths = sorted(
        (output / RECORDS).glob("*.jsonl"), key=lambda path: (path != output / MERGED, path)
    )
    places: dict[str, _Place] = {}
    for path in paths:
        count = _find_records(path, places)
        if count and damaged is not None:
            damaged.append(_say_damage(path, output, count))
    with _OpenFiles() as files:
        for name in sorted(places):
            place = places[name]
            file = files.open(place.path)
            file.seek(place.offset)
            record = _parse(file.readline())
            if record is not None and (gone or not record.gone):
                yield record


def refuse_damage(output: Path, *, torn: bool = True) -> None:
    """Refuse to go on with fewer images than were labelled without a word.

    Parameters
    ----------
    output
        The job's folder.
    torn
        Whether to refuse also what a kill may leave: a line in the file of one process.

    Raises
    ------
    InputError
        With the files and the cure.
    """
    files = sorted((output / RECORDS).glob("*.jsonl")) if torn else [output / MERGED]
    counts = {path: _find_records(path, {}) for path in files if path.exists()}
    if damaged := [_say_damage(path, output, n) for path, n in counts.items() if n]:
        msg = (
            f"the records of {output} are damaged ({'; '.join(damaged)}), so that some images "
            "would be missing; run the same `dinoiser label` command again, which labels what is "
            "missing and mends them"
        )
        raise InputError(msg)


def _say_damage(path: Path, output: Path, count: int) -> str:
    return f"{count} damaged line{'s' * (count > 1)} in {path.relative_to(output)}"


class _Place(NamedTuple):
    """Where the record of an image begins, and how much it counts."""

    path: Path
    offset: int
    rank: tuple[bool, bool]


class _OpenFiles:
    """Files that are read by turns; no more are open at a time than any system allows."""

    MOST = 64

    def __init__(self) -> None:
        self._files: OrderedDict[Path, BinaryIO] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def open(self, path: Path) -> BinaryIO:
        if path not in self._files:
            if len(self._files) == self.MOST:
                self._files.popitem(last=False)[1].close()
            self._files[path] = path.open("rb")
        self._files.move_to_end(path)
        return self._files[path]


def _find_records(path: Path, places: dict[str, _Place]) -> int:
    """Note where the records of a file are, only their places; count the lines that are none."""
    offset = damaged = 0
    # What earlier runs left is merged when a run begins: all other files are the newest run's.
    newest = path.name != MERGED.name
    with path.open("rb") as file:
        for line in file:
            record = _parse(line)
            if record is None:
                damaged += bool(line.strip())
            else:
                rank, earlier = (newest, record.status == "done"), places.get(record.image)
                if earlier is None or rank >= earlier.rank:
                    places[record.image] = _Place(path, offset, rank)
            offset += len(line)
    return damaged


def _parse(line: bytes) -> Record | None:
    try:
        return Record.model_validate_json(line.removeprefix(codecs.BOM_UTF8))
    except ValueError:
        return None


def merge_records(output: Path, without: Collection[str] = (), *, mend: bool = False) -> None:
    """Gather all records into one file, in the order of the images' names.

    Parameters
    ----------
    output
        The job's folder.
    without
        Names of images whose records are dropped.
    mend
        Write the file anew where it is the only one, too: damaged lines go.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    parts = [path for path in (output / RECORDS).glob("*.jsonl") if path != output / MERGED]
    if not (parts or without or mend):
        return
    with atomic_file(output / MERGED) as file:
        for record in read_records(output, gone=True):
            if record.image not in without:
                file.write(record.model_dump_json().encode() + b"\n")
    for path in parts:
        remove_file(path)


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
