"""Write files that are either complete or absent, and remove them again."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from dinoiser.errors import OutputError, PlaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTIAL_SUFFIX = ".part"
_PARTIAL = re.compile(rf"\..*\.[0-9a-f]{{8}}\{PARTIAL_SUFFIX}", re.DOTALL)
# bytes of the final name kept in the temporary one; file systems allow 255
_LONGEST_NAME = 200
# on Windows, a file that a virus scanner or a viewer has open, mostly for a moment, stays in place
_OPEN_FILES_STAY = os.name == "nt"
_PAUSES = (0.05,) * 20
# Windows takes a path of more than 259 characters, or 247 of a folder, for one that is not there,
# unless an administrator allows them; the temporary name of a file has 15 more than its own
_LONG_PATH = 230
_MISSING_IF_LONG = os.name == "nt"
_PLACE = {
    errno.ENAMETOOLONG: "give the image a shorter name",
    errno.EISDIR: "move the folder of that name away, or rename the image",
    errno.ENOTDIR: "a file is in the place of its folder: move it away, or rename the image",
    errno.EEXIST: "a file is in the place of its folder: move it away, or rename the image",
    errno.EINVAL: "the disk does not take such a name: rename the image",
}
_CURES = {
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space, your quota is used up",
    errno.EACCES: "give an output folder that you may write to",
    errno.EPERM: "give an output folder that you may write to",
    errno.EROFS: "give an output folder on a disk that is not read-only",
    errno.EIO: "the disk or the connection to it fails",
}


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only once it is complete.

    Missing folders are created. The bytes go to a hidden file beside `path`,
    are flushed to disk, and then replace whatever was at `path`. On an error,
    nothing is left behind.

    Raises
    ------
    OutputError
        The file or its folder cannot be written, see `write_error`.
    """
    path = Path(path)
    if not path.name:  # such as "."
        raise write_error(path, _is_a_folder())
    # shortened: a name just within the limit would exceed it with the prefix and suffix added
    stem = path.name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    partial = path.with_name(f".{stem}.{uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace_file(partial, path)
        _sync_folder(path.parent)
    except OutputError:  # of another file
        raise
    except OSError as error:
        # which Windows refuses as it refuses what may not be written
        in_the_way = _OPEN_FILES_STAY and error.errno == errno.EACCES and path.is_dir()
        raise write_error(path, _is_a_folder() if in_the_way else error) from error
    finally:
        with suppress(OSError):  # what is wrong with the disk was said above
            partial.unlink()


def write_file(path: str | Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file whose content is in memory, see `atomic_file`.

    Raises
    ------
    OutputError
        The file or its folder cannot be written.
    """
    with atomic_file(path) as file:
        file.write(content)


def replace_file(new: Path, path: Path) -> None:
    """Rename a file to a name that another may have, which is replaced.

    Raises
    ------
    OSError
        It cannot be renamed, see `write_error`.
    """
    _once_closed(lambda: new.replace(path))


def remove_file(path: Path) -> None:
    """Remove a file of a job, if it is there.

    Raises
    ------
    OutputError
        It cannot be removed.
    """
    try:
        _once_closed(lambda: path.unlink(missing_ok=True))
    except OSError as error:
        raise _refusal(path, error, "remove") from error


def remove_folder(folder: Path) -> None:
    """Remove a folder of a job and the files in it, if it is there.

    Raises
    ------
    OutputError
        A file in it cannot be removed; others may be gone.
    """
    for path in folder.rglob("*"):
        if path.is_symlink() or path.is_file():
            remove_file(path)
    shutil.rmtree(folder, ignore_errors=True)  # empty folders do no harm


def _once_closed(act: Callable[[], object]) -> None:
    """Replace or remove a file, as soon as no program has it open, where that matters."""
    for pause in _PAUSES if _OPEN_FILES_STAY else ():
        with suppress(PermissionError):
            act()
            return
        time.sleep(pause)
    act()


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder, before long work for them begins.

    Raises
    ------
    OutputError
        They cannot.
    """
    probe = folder / ".probe"
    try:
        with atomic_file(probe):
            pass
    except OutputError as error:
        cause = error.__cause__
        assert isinstance(cause, OSError)
        if isinstance(error, PlaceError):  # here it is the folder that needs another name
            msg = f"Cannot write {folder}: {cause.strerror}; give another output folder."
            raise OutputError(msg) from cause
        raise write_error(folder, cause) from cause
    remove_file(probe)


def write_error(path: Path, error: OSError) -> OutputError:
    """Say why a file could not be written, and what to do.

    Returns
    -------
    OutputError
        A `PlaceError` where only a file of another name could be written.
    """
    return _refusal(path, error, "write")


def _is_a_folder() -> OSError:
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _refusal(path: Path, error: OSError, act: str) -> OutputError:
    reason = error.strerror or str(error)
    cure = _CURES.get(error.errno or 0, "give an output folder that can be written")
    kind = OutputError
    if error.errno == errno.ENOENT and _MISSING_IF_LONG and len(os.path.abspath(path)) > _LONG_PATH:
        kind, cure = PlaceError, "its path is too long: give a shorter output folder or image name"
    elif error.errno in _PLACE:
        kind, cure = PlaceError, _PLACE[error.errno]
    elif _OPEN_FILES_STAY and error.errno == errno.EACCES and path.is_file():
        kind, cure = PlaceError, "close it in the program that has it open, or make it writable"
    return kind(f"Cannot {act} {path}: {reason}; {cure}.")


def _sync_folder(folder: Path) -> None:
    """See a new name onto the disk; not all systems can open a folder, nor need it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left behind, in a folder and its subfolders."""
    for path in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        if _PARTIAL.fullmatch(path.name):
            with suppress(PermissionError):  # on Windows: a process that lives is writing it
                path.unlink(missing_ok=True)
