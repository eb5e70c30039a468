"""Share one model between the threads that label images."""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from dinoiser.errors import SettingsError
from dinoiser.models.base import PatchFeatures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from torch import Tensor

    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.passes import Passes

PATIENCE = 0.5
"""Seconds after which an incomplete batch runs, so that no slow image holds up all others."""


class _Ticket(NamedTuple):
    """A window, the thread that waits for its features, and the future for them."""

    window: Tensor
    thread: int
    answer: Future[PatchFeatures]


class BatchedModel:
    """A model on an accelerator that runs windows from several threads in one batch.

    A batch runs when it is full, or when all threads at work on images wait for
    features, so that no window can come. All batches have the same size and are
    padded with black windows if needed. Kernels are chosen by size, so a
    window's features do not depend on which other windows share its batch.

    Parameters
    ----------
    model
        The model; everything but `encode_image` is delegated to it.
    passes
        Decides how many windows go through the model at once.

    Notes
    -----
    A context manager; its threads end with the block.
    """

    def __init__(self, model: SegmentationModel, passes: Passes) -> None:
        self._model = model
        self._passes = passes
        # guards the four below
        self._changed = threading.Condition()
        # windows wait by shape (3, h, w), the same in a batch
        self._waiting: dict[tuple[int, ...], list[_Ticket]] = defaultdict(list)
        self._producers = 0
        self._closed = False
        self._failure: BaseException | None = None
        # two, as one answers and collects windows while the other has its batch on the device
        self._device = threading.Lock()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(2)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

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
        """Announce that the calling thread may bring windows until the block ends."""
        with self._changed:
            self._producers += 1
        try:
            yield
        finally:
            with self._changed:
                self._producers -= 1
                self._wake()

    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """See `SegmentationModel`; waits for the features of all windows (B, 3, h, w)."""
        thread = threading.get_ident()
        tickets = [_Ticket(window, thread, Future()) for window in pixels]
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._waiting[tuple(pixels.shape[1:])] += tickets
            self._wake()
        return PatchFeatures.cat([ticket.answer.result() for ticket in tickets])

    def batch_size(self, shape: tuple[int, ...]) -> int:
        """Return how many windows (3, h, w) run in one pass."""
        return self._passes.windows(self._model, (shape[1], shape[2]))

    def _serve(self) -> None:
        try:
            while tickets := self._next_batch():
                try:
                    self._run(tickets)
                except BaseException as error:
                    _answer_with(error, tickets)
        except BaseException as error:  # no batch can be made: nobody must wait for one
            with self._changed:
                self._failure = error
                for waiting in self._waiting.values():
                    _answer_with(error, waiting)
                self._waiting.clear()

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
        threads = {ticket.thread for waiting in self._waiting.values() for ticket in waiting}
        return self._fullest() if len(threads) >= self._producers else None

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
        return tickets

    @torch.inference_mode()
    def _run(self, tickets: list[_Ticket]) -> None:
        # (size, 3, h, w), of which the first len(tickets) are windows and the rest stays black
        shape = tuple(tickets[0].window.shape)
        size = self.batch_size(shape)
        batch = tickets[0].window.new_zeros((size, *shape))
        torch.stack([ticket.window for ticket in tickets], out=batch[: len(tickets)])
        try:
            with self._device:
                patches = self._model.encode_image(batch)
        except torch.OutOfMemoryError as error:
            msg = (
                f"{size} windows of {shape[1]}x{shape[2]} pixels do not fit into the memory of "
                f"{self._model.device}; choose a smaller --batch-size."
            )
            raise SettingsError(msg) from error
        for i, ticket in enumerate(tickets):
            ticket.answer.set_result(patches.part(slice(i, i + 1)))


def _answer_with(error: BaseException, tickets: list[_Ticket]) -> None:
    """Raise an error in the threads that wait for windows."""
    for ticket in tickets:
        if not ticket.answer.done():
            ticket.answer.set_exception(error)
