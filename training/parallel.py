"""Share one fit between processes started by torchrun."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


@dataclass(frozen=True)
class Workers:
    """One of the processes that share each batch.

    Attributes
    ----------
    rank, count
        Its number, from 0, and the number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and reports to the user."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """The part of a batch for this process."""
        return slice(self.rank, None, self.count)

    def sum_gradients(self, model: nn.Module, *more: Tensor) -> None:
        """Sum gradients, and further tensors, over all processes, in place."""
        if self.count == 1:
            return
        tensors: list[Tensor] = []
        for parameter in model.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:  # fewer crops than processes
                    parameter.grad = torch.zeros_like(parameter)
                tensors.append(parameter.grad)
        tensors += more
        together = torch.cat([tensor.flatten() for tensor in tensors])  # one message, not hundreds
        distributed.all_reduce(together)
        for tensor, part in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def local_device() -> str | None:
    """Name of the GPU that torchrun assigned to this process; None without torchrun or GPU."""
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if rank is not None and torch.cuda.is_available() else None


@contextmanager
def join_workers() -> Iterator[Workers]:
    """Join the processes started by torchrun; without it, a single one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Workers()
        return
    # where there is a GPU, `--device cpu` still adds up on the CPU
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
