"""Download a file over HTTP, resuming where an interrupted download stopped."""

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
"""Called with the file's name, the bytes downloaded and the total bytes."""
Cancelled = Callable[[], bool]

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait before each retry."""
TIMEOUTS = (5.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK = 1 << 14  # bytes; small, so that cancelling takes effect soon on a slow connection


class DownloadError(Exception):
    """The file could not be downloaded; the message is the reason, as part of a sentence."""


class DownloadCancelledError(Exception):
    """The caller cancelled; what was downloaded so far is kept for the next time."""


def download(file: UrlFile, progress: ByteProgress | None, cancelled: Cancelled | None) -> Path:
    """Download a file to its place, resuming an interrupted download.

    Parameters
    ----------
    file
        The file to download; if it is in place with the right digest, nothing happens.
    progress
        Called after every chunk.
    cancelled
        Called between chunks; True stops the download.

    Returns
    -------
    Path
        The file's path; its content has been checked.

    Raises
    ------
    DownloadError
        If the server cannot be reached or sends another file.
    DownloadCancelledError
        If ``cancelled`` returned True.
    OSError
        If the cache folder cannot be written.
    """
    target = file.place()
    target.parent.mkdir(parents=True, exist_ok=True)
    downloader = ResumingDownloader(file, target, progress, cancelled)
    with _only_one_process(target, cancelled), _quiet(pooch.get_logger()):
        if target.exists() and _mismatch(file, target):
            target.unlink()
        # pooch does not know git blob ids, so the downloader itself checks the digest
        pooch.retrieve(file.url, None, fname=target.name, path=target.parent, downloader=downloader)
    return target


@dataclass(frozen=True)
class ResumingDownloader:
    """A downloader for pooch that keeps partial downloads in ``<target>.part`` and resumes them."""

    file: UrlFile
    target: Path
    progress: ByteProgress | None = None
    cancelled: Cancelled | None = None

    @property
    def part(self) -> Path:
        """The partial file."""
        return self.target.with_name(f"{self.target.name}.part")

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download ``url`` to ``output_file`` and verify it."""
        # twice at most: a wrong digest may come from an old partial file, so start over once
        for last in (False, True):
            self._transfer_patiently(url)
            received = _mismatch(self.file, self.part)
            if received is None:
                os.replace(self.part, output_file)
                return
            self.part.unlink()
            if last:
                msg = f"the downloaded file has the digest {received}, expected {self.file.digest}"
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
        # uncompressed, so that byte positions are those of the file
        headers = {"Accept-Encoding": "identity"}
        if here:
            headers["Range"] = f"bytes={here}-"
        self._stop_if_cancelled()
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
            # the partial file is not shorter than the file on the server: start over
            if here and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.part.unlink()
                return self._transfer(url)
            response.raise_for_status()
            # a server that ignores the range sends the whole file with 200
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
        # requests does not report a connection that ends early
        if done < total:
            msg = f"the connection ended after {done} of {total} bytes"
            raise requests.ConnectionError(msg)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise DownloadCancelledError


def _mismatch(file: UrlFile, path: Path) -> Digest | None:
    """Digest of the content at ``path`` if it differs from the file's, and None otherwise."""
    if file.digest is None:
        return None
    received = file_digest(path, file.digest.kind)
    return None if received == file.digest else received


def _may_pass(error: requests.RequestException) -> bool:
    """Whether a retry may help: after an interruption, a time-out or an overloaded server."""
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
    return (
        f"{urlsplit(url).netloc} cannot be reached or broke the connection, {type(error).__name__}"
    )


@contextlib.contextmanager
def _only_one_process(target: Path, cancelled: Cancelled | None) -> Iterator[None]:
    """Hold the file's lock, so that two processes never write to one ``.part`` file."""
    lock = filelock.FileLock(f"{target}.lock")
    while True:
        try:  # in short waits, so that cancelling works while another process downloads
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
    """Keep pooch from writing to stderr, where progress is shown."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
