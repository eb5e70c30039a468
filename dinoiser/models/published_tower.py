"""Networks whose sizes follow from the weights that their authors publish."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Self

from torch import nn

from dinoiser.errors import CheckpointError
from dinoiser.models.teachers.dino import HEAD_WIDTH
from dinoiser.weights.checkpoint import load_into

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch
    from torch import Tensor


class PublishedTower(nn.Module):
    """A network built to fit the weights of any model of a family.

    Attributes
    ----------
    part
        Its name in messages, such as "text tower of dino.txt".
    blocks_begin
        What the names of its blocks begin with, before their numbers.
    renamed
        (pattern, replacement) pairs that turn the authors' names of weights
        into ours.
    ignored
        Our names of weights that are not needed.
    """

    part: ClassVar[str]
    blocks_begin: ClassVar[str] = "blocks."
    renamed: ClassVar[tuple[tuple[str, str], ...]] = ()
    ignored: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        head_width: int = HEAD_WIDTH,
        path: str | Path | None = None,
    ) -> Self:
        """Build the network for weights with the authors' names, and load them.

        Raises
        ------
        CheckpointError
            A name or a shape differs; the message lists which.
        """
        ours = {cls._our_name(name): tensor for name, tensor in tensors.items()}

        def shape(name: str) -> torch.Size:
            if name not in ours:
                msg = (
                    f"{path or 'The file'} does not contain the {cls.part}: {name} is missing, "
                    f"found {sorted(ours)[:6]}; give the file published by its authors."
                )
                raise CheckpointError(msg)
            return ours[name].shape

        begin = cls.blocks_begin
        numbers = {n.removeprefix(begin).split(".")[0] for n in ours if n.startswith(begin)}
        tower = cls(depth=len(numbers), **cls._sizes(shape, head_width))
        load_into(tower, ours, path, cls.ignored)
        return tower

    @classmethod
    def _our_name(cls, name: str) -> str:
        for pattern, replacement in cls.renamed:
            name = re.sub(pattern, replacement, name)
        return name

    @staticmethod
    def _sizes(shape: Callable[[str], torch.Size], head_width: int) -> dict[str, int]:
        """Derive all sizes but the depth from the shapes of weights."""
        raise NotImplementedError
