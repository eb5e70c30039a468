"""Fetch a file over HTTP so that a cut connection costs only what is still missing."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import pooch
import requests

from dinoiser.weights.digests import Digest, file_digest
from dinoiser.weights.files import UrlFile

ByteProgress = Callable[[str, int, int], None]
"""Called with the file's name, the bytes that are here and the bytes in all."""
Cancelled = Callable[[], bool]

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait before each new try."""
TIMEOUTS = (5.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK = 1 << 14


class DownloadError(Exception):
    """The file could not be fetched; the message is the reason, as part of a sentence."""


class DownloadCancelledError(Exception):
    """The caller asked to stop; what is here already is kept for the next time."""


def download(file: UrlFile, progress: ByteProgress | None, cancelled: Cancelled | None) -> Path:
    """Download a file into its place, going on from where an earlier try stopped.

    Parameters
    ----------
    file
        What to fetch; a file in its place with the right digest is left alone.
    progress
        Called after every chunk.
    cancelled
        Asked between chunks; once it says True the download stops.

    Returns
    -------
    Path
        The file's path; its content has been checked.

    Raises
    ------
    DownloadError
        If the server cannot be reached or sends something else.
    DownloadCancelledError
        If ``cancelled`` said so.
    OSError
        If the cache folder cannot be written.
    """
    target = file.place()
    target.parent.mkdir(parents=True, exist_ok=True)
    downloader = ResumingDownloader(file, target, progress, cancelled)
    with _only_one_process(target, cancelled), _quiet(pooch.get_logger()):
        if target.exists() and _mismatch(file, target):
            target.unlink()
        # pooch knows no git blob ids, so the downloader itself checks the digest.
        pooch.retrieve(file.url, None, fname=target.name, path=target.parent, downloader=downloader)
    return target


@dataclass(frozen=True)
class ResumingDownloader:
    """A downloader for pooch that keeps what it has in ``<target>.part`` and goes on from there."""

    file: UrlFile
    target: Path
    progress: ByteProgress | None = None
    cancelled: Cancelled | None = None

    @property
    def part(self) -> Path:
        """The file that grows during the download."""
        return self.target.with_name(f"{self.target.name}.part")

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Put the checked content of ``url`` at ``output_file``."""
        for last in (False, True):
            self._transfer_patiently(url)
            received = _mismatch(self.file, self.part)
            if received is None:
                os.replace(self.part, output_file)
                return
            self.part.unlink()
            if last:
                msg = f"what came has the {received} where {self.file.digest} is expected"
                raise DownloadError(msg)

    def _transfer_patiently(self, url: str) -> None:
        for pause in (*PAUSES, None):
            try:
                return self._transfer(url)
            except requests.RequestException as error:
                if pause is None or not _may_pass(error):
                    raise DownloadError(_reason(error, url)) from error
                time.sleep(pause)
        return None

    def _transfer(self, url: str) -> None:
        here = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if here:
            headers["Range"] = f"bytes={here}-"
        self._stop_if_cancelled()
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
            if here and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.part.unlink()
                return self._transfer(url)
            response.raise_for_status()
            return self._save(response, resumed=response.status_code == HTTPStatus.PARTIAL_CONTENT)

    def _save(self, response: requests.Response, *, resumed: bool) -> None:
        with self.part.open("ab" if resumed else "wb") as output:
            done = output.tell()
            total = done + int(response.headers.get("Content-Length", 0))
            for chunk in response.iter_content(CHUNK):
                self._stop_if_cancelled()
                output.write(chunk)
                done += len(chunk)
                if self.progress is not None:
                    self.progress(self.file.name, done, max(done, total))
        if done < total:
            msg = f"the connection was cut after {done} of {total} bytes"
            raise requests.ConnectionError(msg)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise DownloadCancelledError


def _mismatch(file: UrlFile, path: Path) -> Digest | None:
    """Digest of what lies at ``path`` if it is not the file's; None where that is unknown."""
    if file.digest is None:
        return None
    received = file_digest(path, file.digest.kind)
    return None if received == file.digest else received


def _may_pass(error: requests.RequestException) -> bool:
    """Whether the error may be gone in a moment: cuts, time-outs, an overloaded server."""
    if error.response is None:
        return isinstance(
            error,
            requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError,
        )
    status = error.response.status_code
    busy = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    return status in busy or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _reason(error: requests.RequestException, url: str) -> str:
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    return f"{urlsplit(url).netloc} cannot be reached or was cut off, {type(error).__name__}"


@contextlib.contextmanager
def _only_one_process(target: Path, cancelled: Cancelled | None) -> Iterator[None]:
    """Hold the file's lock, so that two processes never write to one ``.part`` file."""
    lock = filelock.FileLock(f"{target}.lock")
    while True:
        try:
            lock.acquire(timeout=0.2)
            break
        except filelock.Timeout:
            if cancelled is not None and cancelled():
                raise DownloadCancelledError from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from writing to stderr, where the faces draw their progress."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
