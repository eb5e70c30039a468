"""Have the weights files of a model on this machine: fetch and verify."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dinoiser.errors import WeightsError
from dinoiser.weights.digests import file_digest
from dinoiser.weights.files import (
    HandFile,
    HubFile,
    PackageFile,
    UrlFile,
    WeightFile,
    cache_dir,
)


@dataclass(frozen=True)
class FileCheck:
    """What became of checking one file; ``detail`` says why, to a person."""

    file: str
    path: Path
    status: Literal["ok", "missing", "corrupt"]
    detail: str


def is_offline() -> bool:
    """Whether ``DINOISER_OFFLINE`` forbids to use the net."""
    return os.environ.get("DINOISER_OFFLINE", "").lower() not in {"", "0", "false", "no", "off"}


def fetch(
    file: WeightFile,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Have a weights file on this machine, downloading it if it is missing or damaged.

    A file is hashed when it is new; after that its size and time of change tell that
    it is still the same, so that a start costs nothing.

    Parameters
    ----------
    file
        A file of the catalogue.
    progress
        Called with the file's name, the bytes that are here and the bytes in all.
    cancelled
        Asked often; once it says True the download stops.

    Returns
    -------
    Path
        Path of the file, whose content has been checked.

    Raises
    ------
    WeightsError
        If the file is missing and cannot be downloaded or saved, or if ``cancelled``
        said so.
    """
    path = file.locate()
    if path is not None and _is_intact(file, path):
        return path
    if isinstance(file, PackageFile):
        msg = f"The embedded weights file {file.place()} is missing: install napari-dinoiser again."
        raise WeightsError(msg)
    if isinstance(file, HandFile):
        msg = (
            f"The weights file {file.name} (about {_megabytes(file)}) is missing and is not "
            f"downloaded by itself, because {file.why}: fetch it from {file.source} and put it at "
            f"{file.place()}."
        )
        raise WeightsError(msg)
    state = "missing" if path is None else "damaged"
    if is_offline():
        raise WeightsError(_sentence(file, state, "DINOISER_OFFLINE is set"))
    path = _download(file, state, progress, cancelled)
    if not _is_intact(file, path):
        raise WeightsError(_sentence(file, "damaged", "what came has another digest"))
    return path


def fetch_all(
    files: Sequence[WeightFile],
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Path]:
    """Have several weights files on this machine, see `fetch`.

    Those that only a person can fetch are looked for first: nobody waits for
    gigabytes to hear of them.
    """
    for file in files:
        if isinstance(file, HandFile):
            fetch(file)
    return [fetch(file, progress, cancelled) for file in files]


def verify(files: Sequence[WeightFile]) -> list[FileCheck]:
    """Read the files of a model and compare each with its digest.

    Parameters
    ----------
    files
        Those of a model, see `dinoiser.models.catalog.ModelEntry.files`.

    Returns
    -------
    list of FileCheck
        One check a file. A file of the Hugging Face hub is compared with the digest
        that the hub gave with it and by which its cache names the file, so this
        finds damage on this machine and not another file on the hub.
    """
    return [_check(file) for file in files]


def _check(file: WeightFile) -> FileCheck:
    path = file.locate()
    if path is None:
        return FileCheck(file.name, file.place(), "missing", "not on this machine")
    expected = file.expected_digest(path)
    if expected is None:
        return FileCheck(file.name, path, "ok", "no digest to compare with")
    try:
        received = file_digest(path, expected.kind)
    except OSError as error:
        return FileCheck(file.name, path, "corrupt", f"cannot be read, {error.strerror}")
    if received == expected:
        return FileCheck(file.name, path, "ok", str(received))
    return FileCheck(file.name, path, "corrupt", f"{received} where {expected} is expected")


def _download(
    file: UrlFile | HubFile,
    state: str,
    progress: Callable[[str, int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Path:
    from dinoiser.weights.download import DownloadCancelledError, DownloadError, download
    from dinoiser.weights.hub import download_from_hub

    try:
        _probe(cache_dir())
        if isinstance(file, UrlFile):
            return download(file, progress, cancelled)
        _discard_damaged(file)
        return download_from_hub(file, progress, cancelled)
    except DownloadCancelledError as error:
        msg = f"The download of {file.name} was stopped as asked: fetch it again to finish it."
        raise WeightsError(msg) from error
    except DownloadError as error:
        raise WeightsError(_sentence(file, state, str(error))) from error
    except OSError as error:
        msg = (
            f"The weights file {file.name} is {state} and cannot be saved in {cache_dir()} "
            f"({error.strerror or error}): set the environment variable DINOISER_CACHE to a folder "
            "that can be written and has room, or go on with the embedded model by -m tiny."
        )
        raise WeightsError(msg) from error


def _discard_damaged(file: HubFile) -> None:
    """Remove a damaged file with the link to it, which the hub's client would take as it is."""
    path = file.locate()
    if path is None:
        return
    if path.is_symlink():
        (path.parent / path.readlink()).unlink()
    path.unlink()


def _probe(folder: Path) -> None:
    """Find out now, not after a long download, whether the folder can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _sentence(file: UrlFile | HubFile, state: str, reason: str) -> str:
    return (
        f"The weights file {file.name} (about {_megabytes(file)}) is {state} and could not be "
        f"downloaded ({reason}): put it at {file.place()} by hand (from {file.source}), or go on "
        "with the embedded model by -m tiny."
    )


def _megabytes(file: WeightFile) -> str:
    return f"{max(1, round(file.approximate_size / 1e6))} MB"


def _is_intact(file: WeightFile, path: Path) -> bool:
    expected = file.expected_digest(path)
    if isinstance(file, PackageFile) or expected is None:
        return True
    try:
        stamp = _stamp_path(file)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp_text(file, path):
            return True
        if file_digest(path, expected.kind) != expected:
            return False
    except OSError:  # a file that cannot be read is as good as a damaged one
        return False
    _stamp(file, path)
    return True


def _stamp_path(file: WeightFile) -> Path:
    place = file.place()
    return place.with_name(f"{place.name}.verified")


def _stamp_text(file: WeightFile, path: Path) -> str:
    status = path.stat()
    return f"{file.expected_digest(path)} {status.st_size} bytes, changed {status.st_mtime_ns}\n"


def _stamp(file: WeightFile, path: Path) -> None:
    """Note which version of the file was checked; a read-only cache goes without."""
    stamp = _stamp_path(file)
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(_stamp_text(file, path), encoding="utf-8")
