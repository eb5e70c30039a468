"""A web server on this machine that hands out one weights file, well or badly, as told."""

import hashlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from dinoiser.weights.files import UrlFile

COMMIT = "c" * 40
CONTENT = np.random.default_rng(0).bytes(1_000_000)


@dataclass
class Answer:
    """How one request is answered."""

    status: int = 200
    content: bytes | None = None
    cut_after: int | None = None
    ignore_range: bool = False
    seconds: float = 0.0
    headers: dict[str, str | None] = field(default_factory=dict)
    """Headers that replace the proper ones; None leaves one out."""
    silent: float = 0.0
    """Seconds before the first byte."""
    drip: bool = False
    """Send one byte at a time, ten a second."""
    endless: bool = False
    """Send the content again and again."""


@dataclass
class Request:
    """What was asked for and how many bytes of the file went out."""

    method: str
    path: str
    range: str | None
    sent: int = 0


class WeightServer(ThreadingHTTPServer):
    """Answers requests with the content, or as the next entry of ``answers`` says."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.answers: deque[Answer] = deque()
        self.requests: list[Request] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def bytes_sent(self) -> int:
        return sum(request.sent for request in self.requests)


@contextmanager
def serving(content: bytes) -> Iterator[WeightServer]:
    with WeightServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def weights_at(endpoint: str) -> UrlFile:
    """The catalogue's entry for `CONTENT`."""
    git_blob = hashlib.sha1(b"blob 1000000\0" + CONTENT).hexdigest()
    return UrlFile(
        url=f"{endpoint}/heads.pt", filename="heads.pt", approximate_size=10**6, git_blob=git_blob
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WeightServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(Answer(404) if "absent" in self.path else Answer())

    def do_GET(self) -> None:
        answers = self.server.answers
        if self.path.startswith("/api/"):  # the hub's client looks around first
            self._answer(Answer(404))
        else:
            self._answer(answers.popleft() if answers else Answer())

    def _answer(self, answer: Answer) -> None:
        request = Request(self.command, self.path, self.headers["Range"])
        self.server.requests.append(request)
        if answer.status != 200:
            self.send_response(answer.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        time.sleep(answer.silent)
        content = self.server.content if answer.content is None else answer.content
        start = 0
        if request.range and not answer.ignore_range:
            start = int(request.range.removeprefix("bytes=").removesuffix("-"))
        self._send_headers(answer, content, start)
        if request.method == "GET":
            self._send_body(request, answer, content[start:])

    def _send_headers(self, answer: Answer, content: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        proper = {
            "Content-Length": str(len(content) - start),
            # What the client of the Hugging Face hub wants to know.
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
        }
        if start:
            proper["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        for name, value in {**proper, **answer.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _send_body(self, request: Request, answer: Answer, body: bytes) -> None:
        pieces = len(body) if answer.drip else 20
        seconds = 0.1 if answer.drip else answer.seconds / pieces
        step = max(1, -(-len(body) // pieces))
        starts = range(0, len(body), step)
        for first in itertools.cycle(starts) if answer.endless else starts:
            piece = body[first : first + step]
            if answer.cut_after is not None:
                piece = piece[: max(0, answer.cut_after - request.sent)]
            request.sent += len(piece)  # before the client has it, who looks at once
            try:
                self.wfile.write(piece)
            except OSError:  # the client went away, as it does when it is cancelled
                request.sent -= len(piece)
                break
            time.sleep(seconds)
        # without a length, the end of the connection is the end of the body
        whole = answer.headers.get("Content-Length", "known")
        asked = answer.headers.get("Connection") == "close"
        self.close_connection = asked or answer.cut_after is not None or whole is None
