"""One HTTP request, whose answer a thread waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Self, cast

import requests

TIMEOUTS = (5.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK = 1 << 14  # bytes
CHUNKS_AHEAD = 8
SECONDS_BETWEEN_LOOKS = 0.1

Cancelled = Callable[[], bool]


class DownloadCancelledError(Exception):
    """The caller cancelled; what was downloaded so far is kept for the next time."""


class Transfer:
    """An answer that arrives in a thread, so that cancelling need not wait for a slow server.

    Parameters
    ----------
    url, headers
        The request.
    cancelled
        Called while waiting; True raises `DownloadCancelledError`.
    """

    def __init__(self, url: str, headers: dict[str, str], cancelled: Cancelled | None) -> None:
        self._cancelled = cancelled
        self._arrived: Queue[requests.Response | bytes | Exception | None] = Queue(CHUNKS_AHEAD)
        self._left = threading.Event()
        # a daemon: a server that says nothing must not delay the end of the program
        threading.Thread(target=self._receive, args=(url, headers), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def response(self) -> requests.Response:
        """Wait for status and headers; to be called once, before `chunks`.

        Raises
        ------
        requests.RequestException
            The server cannot be reached.
        """
        return cast("requests.Response", self._next())

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, as it is: nothing is decompressed.

        Raises
        ------
        requests.RequestException
            The connection broke.
        """
        while (chunk := self._next()) is not None:
            yield cast("bytes", chunk)

    def _next(self) -> requests.Response | bytes | None:
        while True:
            if self._cancelled is not None and self._cancelled():
                raise DownloadCancelledError
            with suppress(Empty):
                item = self._arrived.get(timeout=SECONDS_BETWEEN_LOOKS)
                if isinstance(item, Exception):
                    raise item
                return item

    def _receive(self, url: str, headers: dict[str, str]) -> None:
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
                self._put(response)
                for chunk in response.iter_content(CHUNK):
                    if not self._put(chunk):
                        return
            self._put(None)
        except Exception as error:  # raised again where it is waited for
            self._put(error)

    def _put(self, item: requests.Response | bytes | Exception | None) -> bool:
        """Hand over an item; return False if nobody waits for it any more."""
        while not self._left.is_set():
            with suppress(Full):
                self._arrived.put(item, timeout=SECONDS_BETWEEN_LOOKS)
                return True
        return False
