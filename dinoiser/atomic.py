"""Files that are either whole or not there."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from dinoiser.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTIAL_SUFFIX = ".part"
_PARTIAL = re.compile(rf"\..*\.[0-9a-f]{{8}}\{PARTIAL_SUFFIX}", re.DOTALL)
_LONGEST_NAME = 200


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a new file for writing that takes its name only once it is complete.

    Folders are made as needed. The bytes go to a hidden neighbour, reach the
    disk, and then replace whatever was at `path`; on an error nothing is left.

    Raises
    ------
    OutputError
        The file or its folder cannot be written.
    """
    path = Path(path)
    # cut, so that the neighbour's name is not too long where the file's own just is not
    stem = path.name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    partial = path.with_name(f".{stem}.{uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OutputError:  # of another file
        raise
    except OSError as error:
        msg = (
            f"Cannot write {path}: {error.strerror or error}; give an output folder on a disk "
            "with space that you may write to."
        )
        raise OutputError(msg) from error
    finally:
        partial.unlink(missing_ok=True) if partial.parent.is_dir() else None


def remove_partial_files(folder: Path) -> None:
    """Remove what killed writers have left behind, in a folder and in those below it."""
    for path in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)
