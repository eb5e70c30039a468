"""The median of 3 x 3 pixels."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Pixels = TypeVar("Pixels", np.ndarray, Tensor)


def median_of_nine(pixels: Pixels, line: int, step: int = 1) -> Pixels:
    """Median of each pixel and its eight neighbours.

    Parameters
    ----------
    pixels
        (N,) images as they lie in memory, one after the other, of one or more
        channels. On a CPU, arrays take two thirds of the time that tensors do.
    line, step
        How far it is from a pixel to the one below, and to the next one.

    Returns
    -------
    ndarray or Tensor
        (N - 2 * line - 2 * step,), for each place the median of the 3 x 3 pixels
        that begin there. Those that begin in the last two pixels of a row or in
        the last two rows mean nothing.
    """
    of = torch if isinstance(pixels, Tensor) else np
    smaller, larger = of.minimum, of.maximum
    # sort each column of three; of nine, the median is the median of the largest of the smallest,
    # the median of the middle ones, and the smallest of the largest
    above, here, below = _shifted(pixels, line)
    low, high = smaller(above, here), larger(above, here)
    middle, high = smaller(high, below), larger(high, below)
    low, middle = smaller(low, middle), larger(low, middle)
    lows, middles, highs = (_shifted(values, step) for values in (low, middle, high))
    largest = larger(larger(lows[0], lows[1]), lows[2])
    smallest = smaller(smaller(highs[0], highs[1]), highs[2])

    def median_of_three(first: Pixels, second: Pixels, third: Pixels) -> Pixels:
        low, high = smaller(first, second), larger(first, second)
        return larger(low, smaller(high, third))

    return median_of_three(largest, median_of_three(*middles), smallest)


def _shifted(values: Pixels, by: int) -> tuple[Pixels, Pixels, Pixels]:
    return values[: -2 * by], values[by:-by], values[2 * by :]
