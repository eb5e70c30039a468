"""Polygons that follow the pixels' edges exactly, holes included.

A corner is where the outline of a part turns. The sides of pixels that face another part are
gathered into straight edges, of which each names the next; that is one permutation for all parts of
an image, and its cycles are the rings. A hole is joined to the ring above it by a slit of no width
that goes up from the hole's top, so that one ring says all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
"""Sides of a pixel, clockwise; the edge along a side travels towards the next side."""


class _Edges(NamedTuple):
    """Straight pieces of outlines, the part on their right hand."""

    side: np.ndarray  # (E,) which side of their pixels they are
    corners: np.ndarray  # (E, 2) x, y where they begin
    following: np.ndarray  # (E,) the edge that goes on where they end
    parts: np.ndarray  # (E,) the part that they bound


def trace_polygons(parts: np.ndarray) -> dict[int, np.ndarray]:
    """Trace the outlines of parts, with tolerance 0: along the edges of pixels.

    Parameters
    ----------
    parts
        (H, W) integers, 0 = none; every other value is one 4-connected part.

    Returns
    -------
    dict of ndarray
        Of every part a closed polygon: (N, 2) integers x, y of corners, from
        (0, 0) at the image's top left corner to (W, H). It begins at the top
        left corner of the part's first pixel in reading order, runs clockwise,
        and does not repeat the first corner at the end. Holes belong to it by
        slits of no width, along which it goes twice. Filled by the even-odd
        rule it holds the centres of exactly the part's pixels.
    """
    padded = np.pad(parts, 1)
    edges = _find_edges(padded)
    outlines, holes = _find_rings(edges)
    corners, following = _join_holes(edges, holes, padded)
    return {
        int(edges.parts[first]): _corners_of_ring(corners, following, first) for first in outlines
    }


def _find_edges(parts: np.ndarray) -> _Edges:
    """Gather pixel sides into straight edges and find how they follow each other."""
    width = parts.shape[1]
    steps = (-width, 1, width, -1)  # from a pixel to its neighbour beyond each side
    flat = parts.ravel()
    starts, ends = [], []
    for side in range(4):
        ahead = steps[(side + 1) % 4]
        facing = (flat != np.roll(flat, -steps[side])) & (flat != 0)
        here = np.flatnonzero(facing)
        if side in (_RIGHT, _LEFT):
            here = here[np.argsort(here % width, kind="stable")]
        starts.append(here[~facing[here - ahead] | (flat[here - ahead] != flat[here])])
        ends.append(here[~facing[here + ahead] | (flat[here + ahead] != flat[here])])
    sides = np.repeat(np.arange(4), [len(found) for found in starts])
    start, end = np.concatenate(starts), np.concatenate(ends)
    y, x = np.divmod(start, width)
    # without the padding, a pixel's top left corner is at x - 1, y - 1
    corners = np.stack(
        (x - 1 + np.isin(sides, (_RIGHT, _BOTTOM)), y - 1 + np.isin(sides, (_BOTTOM, _LEFT))),
        axis=1,
    )
    return _Edges(sides, corners, _follow(flat, np.array(steps), sides, start, end), flat[start])


def _follow(
    flat: np.ndarray, steps: np.ndarray, side: np.ndarray, start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Find the edge after each: around the same pixel, or back along the one that is in the way."""
    ahead = end + steps[(side + 1) % 4]
    blocked = flat[ahead] == flat[end]
    next_side = np.where(blocked, side - 1, side + 1) % 4
    next_start = np.where(blocked, ahead + steps[side], end)
    keys = side * flat.size + start
    order = np.argsort(keys)
    return order[np.searchsorted(keys, next_side * flat.size + next_start, sorter=order)]


def _find_rings(edges: _Edges) -> tuple[list[int], list[int]]:
    """Find one edge of every ring, at its top: of outlines, and of holes."""
    level = np.flatnonzero((edges.side == _TOP) | (edges.side == _BOTTOM))
    x, y = edges.corners[level].T
    following = edges.following.tolist()
    seen = [False] * len(following)
    outlines, holes = list[int](), list[int]()
    for first in level[np.lexsort((x, y))].tolist():
        if not seen[first]:
            (outlines if edges.side[first] == _TOP else holes).append(first)
        edge = first
        while not seen[edge]:
            seen[edge] = True
            edge = following[edge]
    return outlines, holes


def _join_holes(
    edges: _Edges, holes: list[int], parts: np.ndarray
) -> tuple[list[list[int]], list[int]]:
    """Cut a slit from every hole straight up to the next ring of its part.

    An edge along whose length slits arrive meets them from left to right, so
    the rightmost is put in first.
    """
    corners, following = edges.corners.tolist(), edges.following.tolist()
    tops = np.flatnonzero(edges.side == _TOP)  # in reading order
    width = parts.shape[1]
    places = edges.corners[tops] @ (1, width)
    for hole in sorted(holes, key=lambda edge: -corners[following[edge]][0]):
        x, bottom = corners[following[hole]]
        pair = parts[: bottom + 1, x : x + 2] == edges.parts[hole]
        top = int(np.flatnonzero(~pair.all(axis=1))[-1])
        # the last edge that begins at or before the place on its line
        met = int(tops[np.searchsorted(places, top * width + x, side="right") - 1])
        arrive, leave, back = range(len(corners), len(corners) + 3)
        corners += [[x, top], [x, bottom], [x, top]]
        following += [following[hole], back, following[met]]
        following[met], following[hole] = arrive, leave
    return corners, following


def _corners_of_ring(corners: list[list[int]], following: list[int], first: int) -> np.ndarray:
    ring, edge = [corners[first]], following[first]
    while edge != first:
        if corners[edge] != ring[-1]:  # a slit may arrive at a corner
            ring.append(corners[edge])
        edge = following[edge]
    return np.array(ring)
