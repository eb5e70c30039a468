"""The median of 3 x 3 pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def median_of_nine(pixels: Tensor, line: int, step: int = 1) -> Tensor:
    """Median of each pixel and its eight neighbours.

    Parameters
    ----------
    pixels
        (N,) images as they lie in memory, one after the other, of one or more
        channels.
    line, step
        How far it is from a pixel to the one below, and to the next one.

    Returns
    -------
    Tensor
        (N - 2 * line - 2 * step,), for each place the median of the 3 x 3 pixels
        that begin there. Those that begin in the last two pixels of a row or in
        the last two rows mean nothing.
    """
    # sort each column of three; of nine, the median is the median of the largest of the smallest,
    # the median of the middle ones, and the smallest of the largest
    above, here, below = _shifted(pixels, line)
    low, high = torch.minimum(above, here), torch.maximum(above, here)
    middle, high = torch.minimum(high, below), torch.maximum(high, below)
    low, middle = torch.minimum(low, middle), torch.maximum(low, middle)
    lows, middles, highs = (_shifted(values, step) for values in (low, middle, high))
    largest = torch.maximum(torch.maximum(lows[0], lows[1]), lows[2])
    smallest = torch.minimum(torch.minimum(highs[0], highs[1]), highs[2])
    return _median_of_three(largest, _median_of_three(*middles), smallest)


def _shifted(values: Tensor, by: int) -> tuple[Tensor, Tensor, Tensor]:
    return values[: -2 * by], values[by:-by], values[2 * by :]


def _median_of_three(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return torch.maximum(low, torch.minimum(high, third))
