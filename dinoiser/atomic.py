"""Write files that are either complete or absent."""

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
# bytes of the final name kept in the temporary one; file systems allow 255
_LONGEST_NAME = 200


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only once it is complete.

    Missing folders are created. The bytes go to a hidden file beside `path`,
    are flushed to disk, and then replace whatever was at `path`. On an error,
    nothing is left behind.

    Raises
    ------
    OutputError
        The file or its folder cannot be written.
    """
    path = Path(path)
    # shortened: a name just within the limit would exceed it with the prefix and suffix added
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
            f"Cannot write {path}: {error.strerror or error}; choose an output folder that you may "
            "write to, on a disk with enough free space."
        )
        raise OutputError(msg) from error
    finally:
        partial.unlink(missing_ok=True) if partial.parent.is_dir() else None


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left behind, in a folder and its subfolders."""
    for path in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)
