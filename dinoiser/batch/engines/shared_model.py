"""Share one model between the threads that label images."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from queue import Queue, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import torch

from dinoiser.batch.engines.staging import StagedBatch
from dinoiser.errors import SettingsError
from dinoiser.models.base import PatchFeatures
from dinoiser.models.device import is_out_of_memory
from dinoiser.segment.pipeline import encode_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from torch import Tensor

    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.passes import Passes

PATIENCE = 0.5
"""Seconds after which an incomplete batch runs, so that no slow image holds up all others."""


class _Ticket(NamedTuple):
    """A window, and who waits for its features.

    Attributes
    ----------
    window
        (3, h, w) uint8, on the CPU.
    thread
        Number of the thread that waits.
    place
        Which of its windows this is.
    answers
        Where the thread waits for all of them: places, and features or why there
        are none.
    """

    window: Tensor
    thread: int
    place: int
    answers: SimpleQueue[tuple[int, PatchFeatures | BaseException]]

    def answer(self, found: PatchFeatures | BaseException) -> None:
        """Let the thread go on."""
        self.answers.put((self.place, found))


class _Batch(NamedTuple):
    """Windows that run together, as they wait for the device.

    Attributes
    ----------
    tickets
        Those of its windows.
    staged
        The windows, and then black ones.
    """

    tickets: list[_Ticket]
    staged: StagedBatch


class _Found(NamedTuple):
    """What the device found in a batch; its images are the tickets' windows."""

    tickets: list[_Ticket]
    patches: PatchFeatures


class BatchedModel:
    """A model on an accelerator that runs windows from several threads in one batch.

    A batch runs when it is full, or when all threads at work on images wait for
    features, so that no window can come. All batches have the same size and are
    padded with black windows if needed. Kernels are chosen by size, so a
    window's features do not depend on which other windows share its batch.
    Windows go to the device as bytes, one copy for each batch.

    One thread makes batches, one does nothing but run them, and one hands out
    the answers. Threads that wake up with an answer keep the interpreter busy;
    so they do not come between a batch and the next, which lies ready by then.

    Parameters
    ----------
    model
        The model.
    passes
        Decides how many windows go through the model at once.
    threads
        How many threads work on images; None for one each.

    Notes
    -----
    A context manager; its threads end with the block.
    """

    def __init__(
        self, model: SegmentationModel, passes: Passes, threads: int | None = None
    ) -> None:
        self._model = model
        self._passes = passes
        self._most = math.inf if threads is None else threads
        # guards the five below
        self._changed = threading.Condition()
        # windows wait by shape (3, h, w), the same in a batch
        self._waiting: dict[tuple[int, ...], list[_Ticket]] = defaultdict(list)
        # how many windows wait, by the thread that brought them
        self._asking: Counter[int] = Counter()
        self._producers = 0
        self._closed = False
        self._failure: BaseException | None = None
        # None comes last
        self._batches: Queue[_Batch | None] = Queue(1)
        # one is filled while the other one is copied
        self._unused: SimpleQueue[StagedBatch] = SimpleQueue()
        for _ in range(2):
            self._unused.put(StagedBatch(model.device))
        self._found: SimpleQueue[_Found | None] = SimpleQueue()
        works = self._make_batches, self._run_batches, self._hand_out
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def producing(self) -> Iterator[None]:
        """Announce an image, whose thread may bring windows until the block ends.

        The block may end in another thread. An image that waits for its thread
        counts: a thread that goes from one image to the next is at work.
        """
        with self._changed:
            self._producers += 1
        try:
            yield
        finally:
            with self._changed:
                self._producers -= 1
                self._wake()

    def encode(self, windows: Sequence[Tensor]) -> PatchFeatures:
        """Wait for the features of windows (3, h, w) uint8 of one size, see `Pipeline.tower`."""
        thread = threading.get_ident()
        answers: SimpleQueue[tuple[int, PatchFeatures | BaseException]] = SimpleQueue()
        tickets = [_Ticket(window, thread, i, answers) for i, window in enumerate(windows)]
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._waiting[tuple(windows[0].shape)] += tickets
            self._asking[thread] += len(tickets)
            self._wake()
        parts: dict[int, PatchFeatures] = {}
        while len(parts) < len(tickets):
            place, found = answers.get()
            if isinstance(found, BaseException):
                raise found
            parts[place] = found
        return PatchFeatures.cat([parts[i] for i in range(len(tickets))])

    def batch_size(self, shape: tuple[int, ...]) -> int:
        """Return how many windows (3, h, w) run in one pass."""
        return self._passes.windows(self._model, (shape[1], shape[2]))

    def _make_batches(self) -> None:
        try:
            while tickets := self._next_batch():
                with _errors_answer(tickets):
                    self._batches.put(_Batch(tickets, self._stage(tickets)))
        except BaseException as error:  # no batch can be made: nobody must wait for one
            with self._changed:
                self._failure = error
                for waiting in self._waiting.values():
                    _answer_all(waiting, error)
                self._waiting.clear()
        finally:
            self._batches.put(None)

    def _run_batches(self) -> None:
        while self._run_next():
            pass
        self._found.put(None)

    def _hand_out(self) -> None:
        while self._hand_out_next():
            pass

    def _next_batch(self) -> list[_Ticket]:
        """Wait for the next batch; empty at the end."""
        with self._changed:
            while not self._closed:
                shape = self._due()
                if shape is None and not self._changed.wait(PATIENCE):
                    shape = self._fullest()
                if shape is not None:
                    return self._take(shape)
        return []

    def _wake(self) -> None:
        if self._due() is not None:
            self._changed.notify()

    def _due(self) -> tuple[int, ...] | None:
        """Shape of the windows that run now: a full batch, or all there are if no more can come."""
        for shape, waiting in self._waiting.items():
            if len(waiting) >= self.batch_size(shape):
                return shape
        return self._fullest() if len(self._asking) >= min(self._producers, self._most) else None

    def _fullest(self) -> tuple[int, ...] | None:
        return max(self._waiting, key=lambda shape: len(self._waiting[shape]), default=None)

    def _take(self, shape: tuple[int, ...]) -> list[_Ticket]:
        size = self.batch_size(shape)
        tickets, rest = self._waiting[shape][:size], self._waiting[shape][size:]
        # empty lists are removed, so that `_fullest` never picks one
        if rest:
            self._waiting[shape] = rest
        else:
            del self._waiting[shape]
        self._asking.subtract(ticket.thread for ticket in tickets)
        self._asking = +self._asking  # without the threads of which none waits any more
        return tickets

    @torch.inference_mode()
    def _stage(self, tickets: list[_Ticket]) -> StagedBatch:
        size = self.batch_size(tuple(tickets[0].window.shape))
        staged = self._unused.get()
        try:
            staged.fill([ticket.window for ticket in tickets], size)
        except BaseException:
            self._unused.put(staged)
            raise
        return staged

    @torch.inference_mode()
    def _run_next(self) -> bool:
        """Run a batch; False after the last one."""
        batch = self._batches.get()
        if batch is None:
            return False
        with _errors_answer(batch.tickets):
            self._found.put(_Found(batch.tickets, self._encode(batch)))
        return True

    def _encode(self, batch: _Batch) -> PatchFeatures:
        try:
            return encode_windows(self._model, self._send(batch.staged))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            shape = tuple(batch.tickets[0].window.shape)
            msg = (
                f"{self.batch_size(shape)} windows of {shape[1]}x{shape[2]} pixels do not fit into "
                f"the memory of {self._model.device}; choose a smaller --batch-size."
            )
            raise SettingsError(msg) from error

    def _send(self, staged: StagedBatch) -> Tensor:
        try:
            return staged.send()
        finally:
            self._unused.put(staged)

    @torch.inference_mode()
    def _hand_out_next(self) -> bool:
        """Answer those who wait for a batch; False after the last one."""
        found = self._found.get()
        if found is None:
            return False
        with _errors_answer(found.tickets):
            parts = [found.patches.part(slice(i, i + 1)) for i in range(len(found.tickets))]
            for ticket, part in zip(found.tickets, parts, strict=True):
                ticket.answer(part)
        return True


@contextmanager
def _errors_answer(tickets: list[_Ticket]) -> Iterator[None]:
    """Raise an error in the threads that wait for windows, instead of here."""
    try:
        yield
    except BaseException as error:
        _answer_all(tickets, error)


def _answer_all(tickets: list[_Ticket], error: BaseException) -> None:
    for ticket in tickets:
        ticket.answer(error)
