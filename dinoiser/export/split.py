"""Split what touches: parts of a class are divided where they have a neck."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


PIXELS_AT_ONCE = 2**18
"""Pixels of the box around a part up to which all are looked at, and not every second or n-th."""


def split_parts(parts: np.ndarray, eagerness: float) -> np.ndarray:
    """Divide connected parts at their necks.

    A neck is narrow if its width is below `eagerness` times that of the
    narrower of the two bodies which it joins; widths are those of the largest
    circles that fit in.

    Parameters
    ----------
    parts
        (H, W) integers from `map_parts`; 0 is in no part.
    eagerness
        From 0, which splits nothing, to 1, which splits at every neck.

    Returns
    -------
    ndarray
        (H, W) integers: the same pixels, numbered anew from 1 in the reading
        order of the first pixels, each number 4-connected.
    """
    from scipy import ndimage  # type: ignore[import-untyped]
    from skimage.measure import label

    result = np.zeros(parts.shape, np.int32)
    count = 0
    for value, box in enumerate(ndimage.find_objects(parts), start=1):
        mask = parts[box] == value
        every = math.ceil(math.sqrt(mask.size / PIXELS_AT_ONCE))
        bodies = _bodies(mask[::every, ::every], eagerness, _touches(box, parts.shape))
        if not bodies.any():  # so thin that none of its pixels was looked at
            bodies = np.ones_like(bodies)
        if every > 1:
            # between the pixels that were looked at, each belongs to the nearest body
            nearest = ndimage.distance_transform_edt(
                bodies == 0, return_distances=False, return_indices=True
            )
            bodies = bodies[tuple(nearest)].repeat(every, 0).repeat(every, 1)
            bodies = bodies[: mask.shape[0], : mask.shape[1]]
        result[box][mask] = count + bodies[mask]
        count += int(bodies.max())
    return label(result, background=0, connectivity=1)


def _touches(box: tuple[slice, slice], size: tuple[int, int]) -> list[tuple[bool, bool]]:
    """Whether a box reaches the start and the end of the image along each axis."""
    return [(s.start == 0, s.stop == length) for s, length in zip(box, size, strict=True)]


def _bodies(mask: np.ndarray, eagerness: float, at_edge: list[tuple[bool, bool]]) -> np.ndarray:
    """Return the number of the body of each pixel of one part, (h, w) integers."""
    from scipy import ndimage
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    # how far each pixel is from the outside, to which the image's edge does not belong
    padded = np.pad(mask, [(int(not first), int(not last)) for first, last in at_edge])
    depth = ndimage.distance_transform_edt(padded)
    crop = tuple(
        slice(int(not first), int(not first) + n)
        for (first, _), n in zip(at_edge, mask.shape, strict=True)
    )
    depth = depth[crop]
    peaks, count = ndimage.label(local_maxima(depth) & mask, np.ones((3, 3)))
    if count < 2:
        return mask.astype(np.int32)
    basins = watershed(-depth, peaks, mask=mask)
    # from the widest pass to the narrowest, join what is not divided by a narrow one
    joined = np.arange(count + 1)
    heights = np.concatenate([[0.0], ndimage.maximum(depth, basins, np.arange(1, count + 1))])
    for height, one, other in _passes(basins, depth):
        first, second = _root(joined, one), _root(joined, other)
        if first != second and height >= eagerness * min(heights[first], heights[second]):
            joined[max(first, second)] = min(first, second)
            heights[min(first, second)] = max(heights[first], heights[second])
    return np.array([_root(joined, i) for i in range(count + 1)])[basins]


def _passes(basins: np.ndarray, depth: np.ndarray) -> Iterator[tuple[float, int, int]]:
    """Yield the passes between neighbouring basins, the widest first: half its width, and both."""
    found = []
    for axis in (0, 1):
        first, second = (
            (values[:-1], values[1:]) if axis == 0 else (values[:, :-1], values[:, 1:])
            for values in (basins, depth)
        )
        border = (first[0] != first[1]) & (first[0] > 0) & (first[1] > 0)
        height = np.minimum(*second)[border]
        pair = np.sort(np.stack([first[0][border], first[1][border]]), axis=0)
        found.append(np.concatenate([height[None], pair]))
    passes = np.concatenate(found, 1)
    # from the highest, and for equal heights by number, so that the result is always the same
    for height, one, other in passes[:, np.lexsort((passes[2], passes[1], -passes[0]))].T:
        yield float(height), int(one), int(other)


def _root(joined: np.ndarray, place: int) -> int:
    while joined[place] != place:
        place = int(joined[place])
    return place
