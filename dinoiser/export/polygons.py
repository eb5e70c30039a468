"""Polygons that follow pixel edges exactly, including holes.

A corner is where the outline of a part turns. Sides of pixels that face another part are merged
into straight edges, and each edge knows the next. This is one permutation for all parts of an
image, and its cycles are the rings: outlines and holes. A slit of zero width connects each hole to
the ring above it, straight up from the hole's top, so that one ring describes the whole part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
"""Sides of a pixel, clockwise; an edge along one side travels towards the next side."""


class _Edges(NamedTuple):
    """Straight pieces of outlines, each with its part on the right."""

    side: np.ndarray  # (E,) on which side of its pixels each edge lies
    corners: np.ndarray  # (E, 2) x, y at which each begins
    following: np.ndarray  # (E,) index of the edge that begins where each ends
    parts: np.ndarray  # (E,) the part that each bounds


def trace_polygons(parts: np.ndarray) -> dict[int, np.ndarray]:
    """Trace the outlines of parts exactly, along the edges of pixels.

    Parameters
    ----------
    parts
        (H, W) integers, 0 = none; every other value is one 4-connected part.

    Returns
    -------
    dict of ndarray
        One closed polygon per part: (N, 2) integers x, y of corners, from
        (0, 0) at the image's top left corner to (W, H). It begins at the top
        left corner of the part's first pixel in reading order, runs clockwise,
        and does not repeat the first corner at the end. Holes are connected by
        slits of zero width, which it passes twice. Filled by the even-odd
        rule, it contains the centres of exactly the part's pixels.
    """
    # a border of 0, so that every pixel of a part has four neighbours
    padded = np.pad(parts, 1)
    edges = _find_edges(padded)
    outlines, holes = _find_rings(edges)
    corners, following = _join_holes(edges, holes, padded)
    return {
        int(edges.parts[first]): _corners_of_ring(corners, following, first) for first in outlines
    }


def _find_edges(parts: np.ndarray) -> _Edges:
    """Merge pixel sides into straight edges and find which edge follows which."""
    width = parts.shape[1]
    steps = (-width, 1, width, -1)  # from a pixel to its neighbour beyond each side
    flat = parts.ravel()
    starts, ends = [], []
    inner = parts[1:-1, 1:-1]
    beyond = parts[:-2, 1:-1], parts[1:-1, 2:], parts[2:, 1:-1], parts[1:-1, :-2]
    for side in range(4):
        ahead = steps[(side + 1) % 4]
        # the pixels whose neighbour beyond this side belongs to something else
        apart = np.zeros(parts.shape, bool)
        apart[1:-1, 1:-1] = (inner != beyond[side]) & (inner != 0)
        facing = apart.ravel()
        here = np.flatnonzero(facing)
        # top and bottom sides run along rows, left and right ones along columns
        if side in (_RIGHT, _LEFT):
            here = here[np.argsort(here % width, kind="stable")]
        # An edge starts where the pixel behind is not part of it, and ends where the one ahead is
        # not. Edges on a line do not overlap, so the k-th start and the k-th end belong together.
        starts.append(here[~facing[here - ahead] | (flat[here - ahead] != flat[here])])
        ends.append(here[~facing[here + ahead] | (flat[here + ahead] != flat[here])])
    sides = np.repeat(np.arange(4), [len(found) for found in starts])
    start, end = np.concatenate(starts), np.concatenate(ends)
    y, x = np.divmod(start, width)
    # Where an edge begins: top left for a top side, and so on clockwise. A pixel's top left corner
    # is at (x - 1, y - 1), as x and y count the padding.
    corners = np.stack(
        (x - 1 + np.isin(sides, (_RIGHT, _BOTTOM)), y - 1 + np.isin(sides, (_BOTTOM, _LEFT))),
        axis=1,
    )
    return _Edges(sides, corners, _follow(flat, np.array(steps), sides, start, end), flat[start])


def _follow(
    flat: np.ndarray, steps: np.ndarray, side: np.ndarray, start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Find the edge after each: around the same pixel, or along the pixel in the way."""
    ahead = end + steps[(side + 1) % 4]
    # A right turn goes on around the same pixel. If the part continues straight ahead, the outline
    # turns left, onto the pixel diagonally ahead. Pixels that only touch at a corner stay apart.
    blocked = flat[ahead] == flat[end]
    next_side = np.where(blocked, side - 1, side + 1) % 4
    next_start = np.where(blocked, ahead + steps[side], end)
    # side and first pixel identify an edge: look up the index of each next one
    keys = side * flat.size + start
    order = np.argsort(keys)
    return order[np.searchsorted(keys, next_side * flat.size + next_start, sorter=order)]


def _find_rings(edges: _Edges) -> tuple[list[int], list[int]]:
    """Return the topmost edge of every ring: those of outlines, and those of holes."""
    level = np.flatnonzero((edges.side == _TOP) | (edges.side == _BOTTOM))
    x, y = edges.corners[level].T
    following = edges.following.tolist()
    seen = [False] * len(following)
    outlines, holes = list[int](), list[int]()
    # In reading order, the first edge met of a ring is its topmost. It is the top side of a pixel
    # for an outline, and for a hole the bottom side of the pixel above the hole.
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

    Several slits may meet the same edge, which passes them from left to right.
    Each is inserted at the front, so the rightmost comes first.
    """
    corners, following = edges.corners.tolist(), edges.following.tolist()
    tops = np.flatnonzero(edges.side == _TOP)  # in reading order
    width = parts.shape[1]
    places = edges.corners[tops] @ (1, width)
    for hole in sorted(holes, key=lambda edge: -corners[following[edge]][0]):
        # the top left corner of the hole, and the two columns of pixels beside the slit above it
        x, bottom = corners[following[hole]]
        pair = parts[: bottom + 1, x : x + 2] == edges.parts[hole]
        # up to the lowest row that the part does not fill on both sides of the slit
        top = int(np.flatnonzero(~pair.all(axis=1))[-1])
        # the top edge that the slit meets: the last that begins at or before (x, top)
        met = int(tops[np.searchsorted(places, top * width + x, side="right") - 1])
        # met -> arrive, down the slit, around the hole -> leave, up the slit -> back, on as before
        arrive, leave, back = range(len(corners), len(corners) + 3)
        corners += [[x, top], [x, bottom], [x, top]]
        following += [following[hole], back, following[met]]
        following[met], following[hole] = arrive, leave
    return corners, following


def _corners_of_ring(corners: list[list[int]], following: list[int], first: int) -> np.ndarray:
    ring, edge = [corners[first]], following[first]
    while edge != first:
        if corners[edge] != ring[-1]:  # a slit may meet a corner
            ring.append(corners[edge])
        edge = following[edge]
    return np.array(ring)
