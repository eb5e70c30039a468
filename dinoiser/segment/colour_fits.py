"""Least squares of classes' shares by colour: the guided filter, see `dinoiser.segment.edges`."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

RADIUS = 6
"""Half the side of a window of the fits, in cells: three patches."""
EPSILON = 1e-4
"""Variance of colours, in [0, 1], below which a fit follows them less: a just visible step."""
LEAST = 0.05
"""Least middle of a class's shares, see `ColourFits.fit`."""
GRAIN = 2.0**-16
"""Shares, colours and functions are multiples of it: all their sums and products fit into the 53
bits of float64. Accelerators fit in float64, too, which is no work for so few cells."""


class ColourFits:
    """Least squares of shares by colour, in the window around each cell.

    Parameters
    ----------
    colours
        (3, n, m) float64 in [0, 1], multiples of `GRAIN`.
    """

    def __init__(self, colours: Tensor) -> None:
        self.colours = colours
        self._counts = window_sums(torch.ones_like(colours[0]), RADIUS)
        # the covariance of colours, with EPSILON on its diagonal
        pairs = list(combinations_with_replacement(range(3), 2))
        products = torch.stack([colours[i] * colours[j] for i, j in pairs])
        self._means, squares = self._mean(torch.cat([colours, products])).split((3, 6))
        rr, rg, rb, gg, gb, bb = (
            mean - self._means[i] * self._means[j]
            for mean, (i, j) in zip(squares, pairs, strict=True)
        )
        rr, gg, bb = rr + EPSILON, gg + EPSILON, bb + EPSILON
        # its inverse, by cofactors: torch's own depends on how many matrices there are
        first = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
        second = rr * bb - rb * rb, rg * rb - rr * gb
        cofactors = (first, (first[1], *second), (first[2], second[1], rr * gg - rg * rg))
        determinant = rr * first[0] + rg * first[1] + rb * first[2]
        # (column, row, 1, n, m): for the slopes of all classes at once
        self._inverse = [torch.stack(column)[:, None] / determinant for column in cofactors]

    def fit(self, shares: Tensor) -> Tensor:
        """Fit shares (K, n, m); return the mean function of all windows of a cell.

        Where colours explain little, least squares give every colour nearly the
        mean share, so that small things would be drowned out by what is around
        them. Functions are therefore scaled: one half is the middle between
        what they give, on average, to the cells of a class and to the others.

        Returns
        -------
        Tensor
            (K, 4, n, m), see `edges.Fit.functions`.
        """
        # all at once, as on a device each operation takes its time to start
        products = torch.cat(
            [shares[None], shares * self.colours[:, None], (shares * shares)[None]]
        )
        means, *mixed, squares = self._mean(products)
        covariance = torch.stack(mixed) - means * self._means[:, None]
        slopes = _dot(self._inverse, covariance)  # (3, K, n, m)
        offset = means - _dot(slopes, self._means)
        # for shares of 0 and 1, functions give `mean + (1 - mean) * explained` on average where a
        # share is 1, and `mean - mean * explained` where it is 0
        variance = squares - means * means
        explained = (_dot(slopes, covariance) / variance.clamp(min=GRAIN)).clamp(0, 1)
        middle = (means + (0.5 - means) * explained).clamp(min=LEAST)
        functions = torch.stack([*slopes, offset], 1) / (2 * middle[:, None])
        return to_grain(self._mean(to_grain(functions)))

    def evaluate(self, functions: Tensor) -> Tensor:
        """Return the shares (K, n, m) that functions give to the colours of the cells."""
        *slopes, offset = functions.unbind(1)
        return _dot(slopes, self.colours) + offset

    def _mean(self, values: Tensor) -> Tensor:
        return window_sums(values, RADIUS) / self._counts


def window_sums(values: Tensor, radius: int) -> Tensor:
    """Sum values (..., n, m) over the windows around all places, cut off at the edges."""
    side = 2 * radius + 1
    sums = F.pad(values, (radius + 1, radius, radius + 1, radius)).cumsum(-1)
    sums = (sums[..., side:] - sums[..., :-side]).cumsum(-2)
    return sums[..., side:, :] - sums[..., :-side, :]


def _dot(first: Sequence[Tensor] | Tensor, second: Sequence[Tensor] | Tensor) -> Tensor:
    """Multiply three channels in pairs and add, always in the same order."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def to_grain(values: Tensor) -> Tensor:
    """Round values to multiples of `GRAIN`."""
    return torch.round(values / GRAIN) * GRAIN
