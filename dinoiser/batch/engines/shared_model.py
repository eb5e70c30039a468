"""Share one model between the threads that label images."""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from dinoiser.errors import SettingsError
from dinoiser.models.base import PatchFeatures

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from torch import Tensor

    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.passes import Passes

PATIENCE = 0.05
"""Seconds without a new window after which an incomplete batch runs."""


class _Ticket(NamedTuple):
    """A window, and the future for its features."""

    window: Tensor
    answer: Future[PatchFeatures]


class BatchedModel:
    """A model on an accelerator that runs windows from several threads in one batch.

    All batches have the same size and are padded with black windows if needed.
    Kernels are chosen by size, so a window's features do not depend on which
    other windows share its batch.

    Parameters
    ----------
    model
        The model; everything but `encode_image` is delegated to it.
    passes
        Decides how many windows go through the model at once.

    Notes
    -----
    A context manager; its thread ends with the block.
    """

    def __init__(self, model: SegmentationModel, passes: Passes) -> None:
        self._model = model
        self._passes = passes
        # windows wait by shape (3, h, w), the same in a batch; `_changed` guards it and `_closed`
        self._waiting: dict[tuple[int, ...], list[_Ticket]] = defaultdict(list)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """See `SegmentationModel`; waits for the features of all windows (B, 3, h, w)."""
        tickets = [_Ticket(window, Future()) for window in pixels]
        with self._changed:
            self._waiting[tuple(pixels.shape[1:])] += tickets
            self._changed.notify()
        return PatchFeatures.cat([ticket.answer.result() for ticket in tickets])

    def batch_size(self, shape: tuple[int, ...]) -> int:
        """Return how many windows (3, h, w) run in one pass."""
        return self._passes.windows(self._model, (shape[1], shape[2]))

    def _serve(self) -> None:
        while tickets := self._next_batch():
            try:
                self._run(tickets)
            except BaseException as error:  # raised in the threads that wait for the windows
                for ticket in tickets:
                    ticket.answer.set_exception(error)

    def _next_batch(self) -> list[_Ticket]:
        """Take the next full batch or, after some time, the fullest; empty at the end."""
        with self._changed:
            while not self._closed:
                # a full batch of any shape runs at once
                for shape, waiting in self._waiting.items():
                    if len(waiting) >= self.batch_size(shape):
                        return self._take(shape)
                # otherwise wait: while windows keep coming, a batch may still fill up
                came = self._changed.wait(PATIENCE)
                fullest = max(self._waiting, key=lambda s: len(self._waiting[s]), default=None)
                if not came and fullest is not None:
                    return self._take(fullest)
        return []

    def _take(self, shape: tuple[int, ...]) -> list[_Ticket]:
        size = self.batch_size(shape)
        tickets, rest = self._waiting[shape][:size], self._waiting[shape][size:]
        # empty lists are removed, so that `fullest` never picks one
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
            patches = self._model.encode_image(batch)
        except torch.OutOfMemoryError as error:
            msg = (
                f"{size} windows of {shape[1]}x{shape[2]} pixels do not fit into the memory of "
                f"{self._model.device}; choose a smaller --batch-size."
            )
            raise SettingsError(msg) from error
        for i, ticket in enumerate(tickets):
            ticket.answer.set_result(patches.part(slice(i, i + 1)))
