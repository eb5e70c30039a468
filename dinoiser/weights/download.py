"""Download a file over HTTP, resuming where an interrupted download stopped."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import pooch
import requests

from dinoiser.errors import CheckpointError
from dinoiser.weights.checkpoint import read_tensors
from dinoiser.weights.digests import Digest, file_digest
from dinoiser.weights.files import UrlFile
from dinoiser.weights.transfer import (
    SECONDS_BETWEEN_LOOKS,
    Cancelled,
    DownloadCancelledError,
    Transfer,
)

ByteProgress = Callable[[str, int, int], None]
"""Called with the file's name, the bytes downloaded and the total bytes."""

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait before each retry."""
TOLERANCE = 0.1
"""How far a file may differ from its approximate size, as a share of it."""


class DownloadError(Exception):
    """The file could not be downloaded; the message is the reason, as part of a sentence."""


def download(file: UrlFile, progress: ByteProgress | None, cancelled: Cancelled | None) -> Path:
    """Download a file to its place, resuming an interrupted download.

    Parameters
    ----------
    file
        The file to download; if it is in place with the right digest, nothing happens.
    progress
        Called after every chunk.
    cancelled
        Called several times per second; True stops the download.

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
        # twice at most: the fault may come from an old partial file, so start over once
        for last in (False, True):
            self._transfer_patiently(url)
            fault = _fault(self.file, self.part)
            if fault is None:
                self.file.pin(self.part)
                os.replace(self.part, output_file)
                return
            self.part.unlink()
            if last:
                raise DownloadError(fault)

    def _transfer_patiently(self, url: str) -> None:
        for pause in (*PAUSES, None):
            try:
                return self._transfer(url)
            except requests.RequestException as error:
                if pause is None or not _may_pass(error):
                    raise DownloadError(_reason(error, url)) from error
                self._pause(pause)
        return None

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.cancelled is not None and self.cancelled():
                raise DownloadCancelledError
            time.sleep(min(left, SECONDS_BETWEEN_LOOKS))

    def _transfer(self, url: str) -> None:
        here = self.part.stat().st_size if self.part.exists() else 0
        # uncompressed, so that byte positions are those of the file
        headers = {"Accept-Encoding": "identity"}
        if here:
            headers["Range"] = f"bytes={here}-"
        with Transfer(url, headers, self.cancelled) as transfer:
            response = transfer.response()
            if here and not _continues(response, here):
                self.part.unlink()
                return self._transfer(url)
            response.raise_for_status()
            self._refuse_odd(response, here)
            # a server that ignores the range sends the whole file with 200
            resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT
            return self._save(transfer.chunks(), here if resumed else 0, _length(response))

    def _refuse_odd(self, response: requests.Response, here: int) -> None:
        """Refuse an answer that cannot be the file, before the partial file is touched."""
        wanted = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT if here else HTTPStatus.OK}
        if response.status_code not in wanted:
            msg = f"the server answered {response.status_code} {response.reason}"
            raise DownloadError(msg)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            msg = f"the server sends it compressed ({encoding}), which was not asked for"
            raise DownloadError(msg)
        length = _length(response)
        whole = length and length + here * (response.status_code == HTTPStatus.PARTIAL_CONTENT)
        if whole is not None and not _is_likely(self.file, whole):
            kind = response.headers.get("Content-Type", "an unknown type")
            msg = f"the server sends {whole:,} bytes of {kind}, {_expectation(self.file)}"
            raise DownloadError(msg)

    def _save(self, chunks: Iterator[bytes], done: int, length: int | None) -> None:
        total = done + (length or 0)
        with self.part.open("ab" if done else "wb") as output:
            for chunk in chunks:
                if done + len(chunk) > _largest(self.file):
                    output.truncate(0)
                    msg = f"the server sends over {done:,} bytes, {_expectation(self.file)}"
                    raise DownloadError(msg)
                output.write(chunk)
                done += len(chunk)
                if self.progress is not None:
                    self.progress(self.file.name, done, max(done, total))
        # requests does not report a connection that ends early
        if done < total:
            msg = f"the connection ended after {done} of {total} bytes"
            raise requests.ConnectionError(msg)


def _continues(response: requests.Response, here: int) -> bool:
    """Whether an answer goes on after the first `here` bytes, or is not about them at all."""
    # the partial file is not shorter than the file on the server
    if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return False
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return True
    return response.headers.get("Content-Range", "").startswith(f"bytes {here}-")


def _length(response: requests.Response) -> int | None:
    """Bytes of the body as announced; None if the server does not say it in a number."""
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _fault(file: UrlFile, path: Path) -> str | None:
    """Say what is wrong with a downloaded file, as part of a sentence; None if nothing is."""
    size = path.stat().st_size
    if not _is_likely(file, size):
        return f"the downloaded file has {size:,} bytes, {_expectation(file)}"
    received = _mismatch(file, path)
    if received is not None:
        expected = file.expected_digest(file.place())
        since = f" as when it was first downloaded, see {file.pin_path}" if file.unpinned else ""
        return f"the downloaded file has the digest {received}, expected {expected}{since}"
    if file.unpinned:
        try:
            read_tensors(path)
        except CheckpointError:
            return "the downloaded file holds no weights, or they are damaged"
    return None


def _mismatch(file: UrlFile, path: Path) -> Digest | None:
    """Digest of the content at ``path`` if it differs from the file's, and None otherwise."""
    expected = file.expected_digest(file.place())
    if expected is None:
        return None
    received = file_digest(path, expected.kind)
    return None if received == expected else received


def _is_likely(file: UrlFile, size: int) -> bool:
    return (1 - TOLERANCE) * file.approximate_size <= size <= _largest(file)


def _largest(file: UrlFile) -> float:
    return (1 + TOLERANCE) * file.approximate_size


def _expectation(file: UrlFile) -> str:
    return f"expected about {file.approximate_size:,}; a network's login page may have answered"


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
