"""Labels and confidence of a part of an image, as they are filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch

from dinoiser.models.device import to_device

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from torch import Tensor

    from dinoiser.segment.probability_map import Tile


class Canvas(NamedTuple):
    """What a `PixelMap` fills in.

    Attributes
    ----------
    within
        The part of the image.
    ids
        (K,) uint8 or int16 on the CPU, the label of each channel. With 16 bits,
        these are the bits of a uint16, which torch hardly knows.
    labels
        (rows, columns), like `ids`.
    confidence
        (rows, columns) float16 or float32, the probability of each pixel's
        class, in [0, 1].
    """

    within: Tile
    ids: Tensor
    labels: Tensor
    confidence: Tensor

    @classmethod
    def blank(
        cls,
        within: Tile,
        ids: np.ndarray,
        device: torch.device,
        dtype: DTypeLike = np.float16,
    ) -> Self:
        """Make one with nothing filled in.

        Parameters
        ----------
        within
            The part of the image.
        ids
            (K,) uint8 or uint16, the label of each channel.
        device
            Where it is.
        dtype
            Of the confidence, float16 or float32.
        """
        bits = ids if ids.itemsize == 1 else ids.view(np.int16)
        labels, confidence = (_empty(within.size, of, device) for of in (bits.dtype, dtype))
        return cls(within, torch.from_numpy(bits), labels, confidence)

    def part(self, tile: Tile) -> Self:
        """Return a part of it; what is filled in there is filled in here."""
        place = tile.inside(self.within)
        return self._replace(
            within=tile, labels=self.labels[place], confidence=self.confidence[place]
        )

    def put(self, tile: Tile, channels: list[int], winner: Tensor, probability: Tensor) -> None:
        """Fill in a tile.

        Parameters
        ----------
        tile
            The tile, in pixels of the image.
        channels
            The classes that take part.
        winner
            (rows, columns) integers, which of them a pixel belongs to.
        probability
            (rows, columns), its probability.
        """
        place = tile.inside(self.within)
        ids = self.ids[channels]
        if len(ids) == 1:
            self.labels[place] = ids[0]
        elif winner.device.type == "cpu":  # in half of torch's time
            self.labels[place] = torch.from_numpy(ids.numpy().take(winner.numpy()))
        else:
            self.labels[place] = to_device(ids, winner.device)[winner]
        self.confidence[place] = probability

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return labels, uint8 or uint16, and confidence, in the CPU's memory."""
        found = [self.confidence, self.labels]  # the wider numbers first, for their place in memory
        if self.labels.device.type != "cpu":  # in one copy
            data = torch.cat([values.flatten().view(torch.uint8) for values in found]).cpu()
            sizes = [values.numel() * values.itemsize for values in found]
            found = [
                part.view(values.dtype).view(values.shape)
                for part, values in zip(data.split(sizes), found, strict=True)
            ]
        confidence, labels = (values.numpy() for values in found)
        return labels.view(np.uint8 if labels.itemsize == 1 else np.uint16), confidence


def _empty(size: tuple[int, int], dtype: DTypeLike, device: torch.device) -> Tensor:
    if device.type == "cpu":
        # numpy asks for memory in large pages: of a large image, a fifth of the work
        return torch.from_numpy(np.empty(size, dtype))
    return torch.empty(size, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device=device)
