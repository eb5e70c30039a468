"""Working off requests beside the window, the latest first."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dinoiser.segment.label_session import Request, work_off

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.qt.threading import GeneratorWorker

    from dinoiser.segmentation import Segmentation
    from napari_dinoiser.segment.encoder import Encoder
    from napari_dinoiser.segment.parts import Part

POLL_MILLISECONDS = 50


@dataclass
class Job:
    """A request that is being worked off: written by its thread, read by the window.

    Attributes
    ----------
    request
        What is asked for.
    stopped
        Whether to stop as soon as possible.
    doing, done, total
        What is going on, and how far it is.
    error
        What it failed by.
    """

    request: Request
    stopped: bool = False
    doing: str = "Starting"
    done: int = 0
    total: int = 0
    error: Exception | None = None

    def work(self, encoder: Encoder) -> Iterator[tuple[Request, Part, Segmentation]]:
        """Label part after part, until stopped."""
        try:
            for part, result in work_off(self.request, encoder, self._tell, self._is_stopped):
                yield self.request, part, result
        except CancelledError:
            pass
        except Exception as error:  # a worker swallows those that are RuntimeErrors
            self.error = error

    def _tell(self, doing: str, done: int, total: int) -> None:
        self.doing, self.done, self.total = doing, done, total

    @property
    def progress(self) -> tuple[str, int, int]:
        """What is going on, and how far it is."""
        return self.doing, self.done, self.total

    def _is_stopped(self) -> bool:
        return self.stopped


class Runner(QObject):
    """Works off one request at a time; a newer one takes the place of one that waits.

    Parameters
    ----------
    encoder
        Does the work.
    parent
        Owner.
    """

    labelled = Signal(object, object, object)
    """A part is labelled: the request, the part, the segmentation."""
    progressed = Signal(str, int, int)
    """What is being done, how far it is, and how far it goes (0 where that is not known)."""
    running_changed = Signal(bool)
    failed = Signal(Exception)

    def __init__(self, encoder: Encoder, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.encoder = encoder
        # at most one; a list, because workers are not let go of, but what they were given can be
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
        """What is being worked off, or is next; None where nothing is."""
        return self._next or (self._job.request if self._job else None)

    def submit(self, request: Request) -> None:
        """Work off a request next, in the place of what is being done now."""
        if self._job is None:
            self._start(request)
            return
        self._next = request
        waits_for_tower = self._job.done < self._job.total and len(request.parts) == 1
        # where only the words differ, the tower's work is needed for the new ones, too
        if not (waits_for_tower and request.looks_at_the_same_as(self._job.request)):
            self._job.stopped = True

    def cancel(self) -> None:
        """Stop, and forget what waits."""
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
        worker.start()
        self._timer.start()
        self.running_changed.emit(True)

    def _tell(self) -> None:
        if self._job and self._told != (now := self._job.progress):
            self._told = now  # to show it costs a window some milliseconds
            self.progressed.emit(*now)

    def _pass_on(self, found: tuple[Request, Part, Segmentation]) -> None:
        if self._job and not self._job.stopped:
            self.labelled.emit(*found)

    def _end(self) -> None:
        self._timer.stop()
        job = self._jobs.pop()
        request, self._next = self._next, None
        if job.error and not job.stopped:  # a download that was stopped says so, too
            self.failed.emit(job.error)
        if request:
            self._start(request)
        else:
            self.running_changed.emit(False)


def _work(jobs: list[Job], encoder: Encoder) -> Iterator[tuple[Request, Part, Segmentation]]:
    yield from jobs[0].work(encoder)


def _stop(jobs: list[Job], *_: object) -> None:
    for job in jobs:
        job.stopped = True
