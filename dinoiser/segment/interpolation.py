"""Interpolation along one axis, with sums that are exact.

Weights and values are rounded to multiples of `STEP`. A product of two then has at most 50 bits
behind the point, and so have its sums: in float64, which holds 53, nothing is rounded, whatever
the order. A pixel is the same in every tile, on any number of threads, on every machine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEP = 2.0**-25


def to_steps(values: Tensor) -> Tensor:
    """Round values in [-1, 1] to multiples of `STEP`; float32 holds these too."""
    return torch.round(values / STEP) * STEP


def source(
    length: int, new_length: int, places: slice, antialias: bool = False, cubic: bool = False
) -> slice:
    """Which of the old places some new ones are made of, see `linear_weights`."""
    reach = _reach(length, new_length, antialias) * (2 if cubic else 1)
    start = math.floor((places.start + 0.5) * length / new_length - reach)
    stop = math.ceil((places.stop - 0.5) * length / new_length + reach)
    return slice(max(start, 0), min(stop, length))


def linear_weights(
    length: int, new_length: int, places: slice, antialias: bool = False
) -> tuple[slice, Tensor]:
    """Resize an axis linearly between the centres of its places.

    Parameters
    ----------
    length, new_length
        Places of the axis before and after.
    places
        The new ones that are asked for.
    antialias
        Smooth when shrinking: widen the triangle of weights by the factor,
        as torch and Pillow do.

    Returns
    -------
    used, weights
        Slice of the old places, and their shares (new, old) float64 in the
        new ones; multiples of `STEP`, rows sum to 1 but for their rounding.
    """
    used = source(length, new_length, places, antialias)
    center = (_centers(places) * length / new_length)[:, None]
    distance = (_centers(used) - center).abs() / _reach(length, new_length, antialias)
    weights = to_steps((1 - distance).clamp(min=0))
    return used, to_steps(weights / weights.sum(1, keepdim=True))


def cubic_weights(
    length: int, new_length: int, places: slice, antialias: bool = False
) -> tuple[slice, Tensor]:
    """Resize an axis by cubic convolution between the centres of its places.

    Parameters
    ----------
    length, new_length, places, antialias
        See `linear_weights`. As in torch and Pillow, weights beyond the edge
        are the outer places' without smoothing, and dropped with it, and the
        kernel's slope is -0.75 without it and -0.5 with it.

    Returns
    -------
    used, weights
        See `linear_weights`; some weights are negative.
    """
    used = source(length, new_length, places, antialias, cubic=True)
    center = (_centers(places) * length / new_length)[:, None]
    beyond = 0 if antialias else 2
    taps = torch.arange(used.start - beyond, used.stop + beyond)
    distance = (taps + 0.5 - center) / _reach(length, new_length, antialias)
    spread = _cubic_kernel(distance.abs(), -0.5 if antialias else -0.75)
    weights = torch.zeros(len(center), used.stop - used.start, dtype=torch.float64)
    weights.index_add_(1, taps.clamp(used.start, used.stop - 1) - used.start, spread)
    return used, to_steps(weights / weights.sum(1, keepdim=True))


def corner_weights(length: int, new_length: int, places: slice) -> Tensor:
    """Resize an axis linearly with its outer places' centres kept (`align_corners=True`).

    Returns
    -------
    Tensor
        Shares (new, old) float64 of all old places, as in `linear_weights`.
    """
    step = (length - 1) / max(1, new_length - 1)
    center = (torch.arange(places.start, places.stop, dtype=torch.float64) * step)[:, None]
    return to_steps((1 - (torch.arange(length) - center).abs()).clamp(min=0))


def _cubic_kernel(x: Tensor, slope: float) -> Tensor:
    """Weight at distances x >= 0 (Keys, 1981)."""
    near = ((slope + 2) * x - (slope + 3)) * x * x + 1
    far = slope * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, far.where(x < 2, 0))


def _reach(length: int, new_length: int, antialias: bool) -> float:
    return max(1.0, length / new_length) if antialias else 1.0


def _centers(places: slice) -> Tensor:
    return torch.arange(places.start, places.stop, dtype=torch.float64) + 0.5
