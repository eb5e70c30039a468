"""Process requests in a thread, the latest first."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dinoiser.layer_warm_up import warm_up_layers
from napari_dinoiser.segment.session import Request, work_off

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.qt.threading import GeneratorWorker

    from dinoiser.segmentation import Segmentation
    from napari_dinoiser.segment.encoder import Encoder
    from napari_dinoiser.segment.parts import Part

POLL_MILLISECONDS = 50


@dataclass
class Job:
    """A request in progress: written by its thread, read by the window.

    Attributes
    ----------
    request
        The request.
    stopped
        Whether to stop as soon as possible.
    doing, done, total
        Description of the current step, and its progress.
    error
        The error if it failed.
    """

    request: Request
    stopped: bool = False
    doing: str = "Starting"
    done: int = 0
    total: int = 0
    error: Exception | None = None

    def work(self, encoder: Encoder) -> Iterator[tuple[Request, Part, Segmentation]]:
        """Label one part after another, until stopped."""
        try:
            warm_up_layers()
            for part, result in work_off(self.request, encoder, self._tell, self._is_stopped):
                yield self.request, part, result
        except CancelledError:
            pass
        except Exception as error:  # napari's worker swallows RuntimeErrors
            self.error = error

    def _tell(self, doing: str, done: int, total: int) -> None:
        self.doing, self.done, self.total = doing, done, total

    @property
    def progress(self) -> tuple[str, int, int]:
        """Description of the current step, and its progress."""
        return self.doing, self.done, self.total

    def _is_stopped(self) -> bool:
        return self.stopped


class Runner(QObject):
    """Processes one request at a time; a newer one replaces one that is waiting.

    Parameters
    ----------
    encoder
        The encoder to use.
    parent
        Parent object.
    """

    labelled = Signal(object, object, object)
    """Emitted when a part is labelled: request, part, segmentation."""
    progressed = Signal(str, int, int)
    """Emitted with a description, the amount done, and the total (0 if unknown)."""
    running_changed = Signal(bool)
    failed = Signal(Exception)

    def __init__(self, encoder: Encoder, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.encoder = encoder
        # At most one. It is a list because napari keeps references to workers and their arguments:
        # the list can be emptied, which releases the job.
        self._jobs: list[Job] = []
        self._next: Request | None = None
        self._told: tuple[str, int, int] | None = None
        self.destroyed.connect(partial(_stop, self._jobs))
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.timeout.connect(self._tell)

    @property
    def _job(self) -> Job | None:
        return self._jobs[0] if self._jobs else None

    @property
    def request(self) -> Request | None:
        """The request to come next or else the current one; None if there is none."""
        return self._next or (self._job.request if self._job else None)

    def submit(self, request: Request) -> None:
        """Process a request next, replacing the current one."""
        if self._job is None:
            self._start(request)
            return
        self._next = request
        waits_for_tower = self._job.done < self._job.total and len(request.parts) == 1
        # if only the words differ, the encoding in progress is needed for the new request as well
        if not (waits_for_tower and request.looks_at_the_same_as(self._job.request)):
            self._job.stopped = True

    def cancel(self) -> None:
        """Stop, and drop the waiting request."""
        self._next = None
        if self._job:
            self._job.stopped = True

    def _start(self, request: Request) -> None:
        from napari.qt.threading import create_worker

        self._jobs.append(Job(request))
        self._told = None
        worker: GeneratorWorker = create_worker(_work, self._jobs, self.encoder)
        worker.yielded.connect(self._pass_on)
        worker.finished.connect(self._end)
        self._timer.start()
        self.running_changed.emit(True)  # it processes other events, among which no end may be
        worker.start()

    def _tell(self) -> None:
        if self._job and self._told != (now := self._job.progress):
            self._told = now  # only changes: displaying takes some milliseconds
            self.progressed.emit(*now)

    def _pass_on(self, found: tuple[Request, Part, Segmentation]) -> None:
        if self._job and not self._job.stopped:
            self.labelled.emit(*found)

    def _end(self) -> None:
        self._timer.stop()
        job = self._jobs.pop()
        request, self._next = self._next, None
        if request:
            self._start(request)
        else:
            self.running_changed.emit(False)
        if job.error and not job.stopped:  # a cancelled download is an error, too
            self.failed.emit(job.error)


def _work(jobs: list[Job], encoder: Encoder) -> Iterator[tuple[Request, Part, Segmentation]]:
    yield from jobs[0].work(encoder)


def _stop(jobs: list[Job], *_: object) -> None:
    for job in jobs:
        job.stopped = True
