"""Interpolation along one axis with exact sums.

Weights and values are rounded to multiples of `STEP`. A product of two then has at most 50 bits
after the binary point, and so have sums of products. float64 has 53 bits, so nothing is rounded,
whatever the order. A pixel is the same in every tile, with any number of threads, on any machine.
Accelerators compute pixels in float32, see `number_type`: there, the last bits may differ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEP = 2.0**-25


def to_steps(values: Tensor) -> Tensor:
    """Round values in [-1, 1] to multiples of `STEP`, which also fit into float32."""
    return torch.round(values / STEP) * STEP


def number_type(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on accelerators: many of them are up to 64 times as slow in it."""
    return torch.float64 if device.type == "cpu" else torch.float32


def along_columns(maps: Tensor, weights: Tensor) -> Tensor:
    """Interpolate the columns of maps, exactly on a CPU.

    Parameters
    ----------
    maps, weights
        (K, rows, n) and (columns, n), see `number_type`.

    Returns
    -------
    Tensor
        (K, rows, columns) float32.
    """
    if maps.device.type != "cpu":
        return maps @ weights.T
    # one by one, so that products are still in the processor's cache when they are rounded
    found = torch.empty(*maps.shape[:2], len(weights), dtype=torch.float32)
    for one, values in zip(maps, found, strict=True):
        values.copy_(one @ weights.T)
    return found


def source(
    length: int, new_length: int, places: slice, antialias: bool = False, cubic: bool = False
) -> slice:
    """Return the old places from which some new ones are made, see `linear_weights`."""
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
        Number of places on the axis before and after.
    places
        The new places to compute.
    antialias
        Smooth when shrinking: widen the triangle of weights by the factor,
        like torch and Pillow.

    Returns
    -------
    used, weights
        Slice of the old places, and their weights (new, old) float64 in the
        new ones: multiples of `STEP`, with rows that sum to 1 except for
        rounding.
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
        are added to the outermost places without smoothing and dropped with
        it, and the slope of the kernel is -0.75 without smoothing and -0.5 with
        it.

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
    """Resize an axis linearly, keeping the centres of the outer places (`align_corners=True`).

    Returns
    -------
    Tensor
        Weights (new, old) float64 of all old places, see `linear_weights`.
    """
    step = (length - 1) / max(1, new_length - 1)
    center = (torch.arange(places.start, places.stop, dtype=torch.float64) * step)[:, None]
    return to_steps((1 - (torch.arange(length) - center).abs()).clamp(min=0))


def _cubic_kernel(x: Tensor, slope: float) -> Tensor:
    """Weights at distances x >= 0 (Keys, 1981)."""
    near = ((slope + 2) * x - (slope + 3)) * x * x + 1
    far = slope * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, far.where(x < 2, 0))


def _reach(length: int, new_length: int, antialias: bool) -> float:
    return max(1.0, length / new_length) if antialias else 1.0


def _centers(places: slice) -> Tensor:
    return torch.arange(places.start, places.stop, places.step or 1, dtype=torch.float64) + 0.5
