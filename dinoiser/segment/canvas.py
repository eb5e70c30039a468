"""Labels and confidence of a part of an image, from those of its tiles."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dinoiser.segment.probability_map import Decision, Tile


def put_together(
    decisions: Iterator[Decision], within: Tile, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put the tiles of a part of an image together.

    Parameters
    ----------
    decisions, within
        Those of `PixelMap.decide`, and the part.
    ids
        (K,) uint8 or uint16, the label of each channel.

    Returns
    -------
    labels, confidence
        (rows, columns), of the type of `ids` and float16.
    """
    first = next(decisions)
    decisions = chain([first], decisions)
    device = first.winner.device
    if device.type == "cpu":
        return _on_cpu(decisions, within, ids)
    return _on_device(decisions, within, ids, device)


def _on_cpu(
    decisions: Iterable[Decision], within: Tile, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    labels = np.empty(within.size, ids.dtype)
    confidence = np.empty(within.size, np.float16)
    halves = torch.from_numpy(confidence)  # the same memory
    for tile, channels, winner, probability in decisions:
        part = tile.inside(within)
        if len(channels) == 1:
            labels[part] = ids[channels[0]]
        else:
            labels[part] = ids[channels].take(winner.numpy())
        halves[part].copy_(probability)
    return labels, confidence


def _on_device(
    decisions: Iterable[Decision], within: Tile, ids: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    # both in one piece of memory, so that one copy brings them back
    count = math.prod(within.size)
    memory = torch.empty(count * (2 + ids.itemsize), dtype=torch.uint8, device=device)
    halves, numbers = memory[: 2 * count], memory[2 * count :]
    confidence = halves.view(torch.float16).view(within.size)
    bits = ids.view(np.uint8 if ids.itemsize == 1 else np.int16)  # torch does little with uint16
    labels = numbers.view(torch.from_numpy(bits).dtype).view(within.size)
    for tile, channels, winner, probability in decisions:
        part = tile.inside(within)
        labels[part] = torch.from_numpy(bits[channels]).to(device)[winner]
        confidence[part] = probability
    found = memory.cpu().numpy()
    return (
        found[2 * count :].view(ids.dtype).reshape(within.size),
        found[: 2 * count].view(np.float16).reshape(within.size),
    )
