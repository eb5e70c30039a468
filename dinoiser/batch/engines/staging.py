"""Windows on their way to an accelerator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class StagedBatch:
    """Memory in which a batch of windows is put together, and from which it is copied.

    For CUDA it is page-locked: the copy then needs no processor and nobody waits
    for it. So it is filled again only after that copy has ended.

    Parameters
    ----------
    device
        Where batches go.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._locked = device.type == "cuda"
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._batch = self._bytes
        self._copied = torch.cuda.Event() if self._locked else None

    def fill(self, windows: Sequence[Tensor], size: int) -> None:
        """Put windows (3, h, w) uint8 together, and black ones after them: `size` in all."""
        if self._copied is not None:
            self._copied.synchronize()
        shape = (size, *windows[0].shape)
        if len(self._bytes) < (length := math.prod(shape)):
            self._bytes = torch.empty(length, dtype=torch.uint8, pin_memory=self._locked)
        # one piece of memory for all shapes, as images of a folder may have a thousand of them
        self._batch = self._bytes[:length].view(shape)
        torch.stack(list(windows), out=self._batch[: len(windows)])
        self._batch[len(windows) :] = 0

    def send(self) -> Tensor:
        """Begin the copy to the device; return what it makes, (size, 3, h, w) uint8."""
        # a copy also where the device is the processor, as the memory is filled again
        sent = self._batch.to(self._device, non_blocking=self._locked, copy=True)
        if self._copied is not None:
            self._copied.record(torch.cuda.current_stream(self._device))
        return sent
