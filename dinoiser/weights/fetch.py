"""Fetch and verify the weights files of a model."""

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

EMBEDDED = "use the embedded model with -m tiny"
"""What can be done without the weights of a model."""


@dataclass(frozen=True)
class FileCheck:
    """The result of checking one file; ``detail`` explains it to the user."""

    file: str
    path: Path
    status: Literal["ok", "missing", "corrupt"]
    detail: str


def is_offline() -> bool:
    """Whether ``DINOISER_OFFLINE`` forbids network access."""
    return os.environ.get("DINOISER_OFFLINE", "").lower() not in {"", "0", "false", "no", "off"}


def fetch(
    file: WeightFile,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    cure: str = EMBEDDED,
) -> Path:
    """Return a weights file on this machine, downloading it if it is missing or damaged.

    A new file is hashed once. Later, an unchanged size and modification time are
    enough, so that starting costs no time.

    Parameters
    ----------
    file
        A file from the catalogue.
    progress
        Called with the file's name, the bytes downloaded and the total bytes.
    cancelled
        Called often; True stops the download.
    cure
        What the user can do without the file.

    Returns
    -------
    Path
        Path of the verified file.

    Raises
    ------
    WeightsError
        If the file is missing and cannot be downloaded or saved, or if ``cancelled``
        returned True.
    """
    path = file.locate()
    if path is not None and _is_intact(file, path):
        return path
    if isinstance(file, PackageFile):
        msg = f"The embedded weights file {file.place()} is missing: reinstall napari-dinoiser."
        raise WeightsError(msg)
    if isinstance(file, HandFile):
        msg = (
            f"The weights file {file.name} (about {_megabytes(file)}) is missing and is not "
            f"downloaded automatically, because {file.why}: get it from {file.source} and put it "
            f"at {file.place()}."
        )
        raise WeightsError(msg)
    state = "missing" if path is None else "damaged"
    if is_offline():
        raise WeightsError(_sentence(file, state, "DINOISER_OFFLINE is set", cure))
    path = _download(file, state, progress, cancelled, cure)
    if not _is_intact(file, path):
        different = "the downloaded file has a different digest"
        raise WeightsError(_sentence(file, "damaged", different, cure))
    return path


def fetch_all(
    files: Sequence[WeightFile],
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Path]:
    """Return several weights files on this machine, see `fetch`.

    Files that only the user can get are checked first, so that they are not
    reported after a long download.
    """
    for file in files:
        if isinstance(file, HandFile):
            fetch(file)
    return [fetch(file, progress, cancelled) for file in files]


def verify(files: Sequence[WeightFile]) -> list[FileCheck]:
    """Read the files of a model and compare them with their digests.

    Parameters
    ----------
    files
        The files of a model, see `dinoiser.models.catalog.ModelEntry.files`.

    Returns
    -------
    list of FileCheck
        One check per file. A file published without a digest is compared with that of its
        first download. A file from the Hugging Face hub is compared with the digest
        that came with it and is its name in the cache. So this finds damage on this
        machine, but not a file that was replaced on the hub.
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
    return FileCheck(file.name, path, "corrupt", f"{received}, expected {expected}")


def _download(
    file: UrlFile | HubFile,
    state: str,
    progress: Callable[[str, int, int], None] | None,
    cancelled: Callable[[], bool] | None,
    cure: str,
) -> Path:
    from dinoiser.weights.download import DownloadError, download
    from dinoiser.weights.hub import download_from_hub
    from dinoiser.weights.transfer import DownloadCancelledError

    try:
        _probe(cache_dir())
        if isinstance(file, UrlFile):
            return download(file, progress, cancelled)
        _discard_damaged(file)
        return download_from_hub(file, progress, cancelled)
    except DownloadCancelledError as error:
        msg = f"The download of {file.name} was cancelled: fetch it again to finish it."
        raise WeightsError(msg) from error
    except DownloadError as error:
        raise WeightsError(_sentence(file, state, str(error), cure)) from error
    except OSError as error:
        msg = (
            f"The weights file {file.name} is {state} and cannot be saved in {cache_dir()} "
            f"({error.strerror or error}): set the environment variable DINOISER_CACHE to a folder "
            f"that you can write to and that has enough space, or {cure}."
        )
        raise WeightsError(msg) from error


def _discard_damaged(file: HubFile) -> None:
    """Remove a damaged file and the link to it; the hub's client would use it unchecked."""
    path = file.locate()
    if path is None:
        return
    # the link in `snapshots` and the file in `blobs`
    if path.is_symlink():
        (path.parent / path.readlink()).unlink()
    path.unlink()


def _probe(folder: Path) -> None:
    """Check that the folder can be written to before a long download."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _sentence(file: UrlFile | HubFile, state: str, reason: str, cure: str) -> str:
    return (
        f"The weights file {file.name} (about {_megabytes(file)}) is {state} and could not be "
        f"downloaded ({reason}): put it at {file.place()} yourself (from {file.source}), or {cure}."
    )


def _megabytes(file: WeightFile) -> str:
    return f"{max(1, round(file.approximate_size / 1e6))} MB"


def _is_intact(file: WeightFile, path: Path) -> bool:
    expected = file.expected_digest(path)
    if isinstance(file, PackageFile) or expected is None:
        return True
    # the stamp records the version of the file that was hashed; hash again only if it differs
    try:
        stamp = _stamp_path(file)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp_text(file, path):
            return True
        if file_digest(path, expected.kind) != expected:
            return False
    except OSError:  # an unreadable file is treated like a damaged one
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
    """Record which version of the file was verified, unless the cache is read-only."""
    stamp = _stamp_path(file)
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(_stamp_text(file, path), encoding="utf-8")
