"""JSON files about a whole data set, written image by image in constant memory."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Self

from dinoiser.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

ID_BITS = 53
"""Readers whose numbers are doubles, such as JavaScript, hold no larger integer exactly."""


def stable_id(*key: str | int) -> int:
    """Derive an id from a key alone: the first 53 bits of the key's SHA-256."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - ID_BITS)


class DatasetWriter:
    """A JSON file with the lists `images` and `annotations`, as in COCO.

    A context manager: the file appears under its name when the block ends
    without an error; otherwise an earlier file is left as it was.

    Parameters
    ----------
    path
        The file; missing folders are created.
    categories
        The value of `categories` in the file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def __init__(self, path: str | Path, categories: Sequence[dict[str, Any]]) -> None:
        self._lists = _open_lists(Path(path), categories)

    def __enter__(self) -> Self:
        self._images, self._annotations = self._lists.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lists.__exit__(kind, error, traceback)

    def _add(
        self, image_name: str, size: tuple[int, ...], annotations: Sequence[dict[str, Any]]
    ) -> None:
        """Add an image with its size (height, width) and annotations."""
        height, width = size
        image_id = stable_id(image_name)
        self._images.add(
            {"id": image_id, "file_name": image_name, "width": width, "height": height}
        )
        for annotation in annotations:
            self._annotations.add(annotation)


@contextmanager
def _open_lists(path: Path, categories: Sequence[dict[str, Any]]) -> Iterator[tuple[_List, _List]]:
    """Open a file for its images and annotations.

    A JSON file cannot grow in two lists at once, so annotations are collected
    in an unnamed temporary file until the images are complete.
    """
    head = {
        "info": {
            "description": "labelled by napari-dinoiser",
            "version": importlib.metadata.version("napari-dinoiser"),
        },
        "licenses": [],
        "categories": list(categories),
    }
    with atomic_file(path) as file, TemporaryFile(dir=path.parent) as waiting:
        file.write(json.dumps(head).encode().removesuffix(b"}") + b', "images": [')
        yield _List(file), _List(waiting)
        file.write(b'\n], "annotations": [')
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
        file.write(b"\n]}\n")


class _List:
    """The items of a JSON list, one per line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._separator = b"\n"

    def add(self, item: dict[str, Any]) -> None:
        self._file.write(self._separator + json.dumps(item).encode())
        self._separator = b",\n"
