"""Labels -> regions: the pixels that one annotation each stands for, found in one pass."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError
from dinoiser.segmentation import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dinoiser.prompts import PromptClass, PromptSet

BACKGROUND = 0


@dataclass(frozen=True)
class Region:
    """Pixels that one annotation stands for.

    Attributes
    ----------
    value
        Its value in the map that it was found in.
    class_id
        Its class.
    index
        Its place among the image's regions of this class, from 0 in reading
        order.
    area
        Number of its pixels.
    box
        x, y, width and height in pixels.
    run_lengths
        (N,) int64: pixels outside and inside by turns, outside first, down one
        column after another, as in COCO.
    """

    value: int
    class_id: int
    index: int
    area: int
    box: tuple[int, int, int, int]
    run_lengths: np.ndarray


def annotated_classes(prompts: PromptSet) -> list[PromptClass]:
    """Give the classes that annotations are made of, by id: all but the background."""
    return sorted((c for c in prompts.classes if not c.background), key=lambda c: c.id)


def map_classes(labels: np.ndarray) -> np.ndarray:
    """Map every pixel to its class: (H, W) uint8, 0 = background or ignored."""
    return np.where(labels == IGNORE, np.uint8(BACKGROUND), labels)


def map_parts(labels: np.ndarray) -> np.ndarray:
    """Map every pixel to its 4-connected part of a class.

    Parameters
    ----------
    labels
        (H, W) uint8 class ids; 0 = background, 255 = ignore.

    Returns
    -------
    ndarray
        (H, W) integers, 0 = background or ignored, parts from 1 in the reading
        order of their first pixels.
    """
    from skimage.measure import label  # slow to import

    return label(map_classes(labels), background=BACKGROUND, connectivity=1)


def find_regions(labels: np.ndarray, regions: np.ndarray, prompts: PromptSet) -> list[Region]:
    """Measure the regions of a map.

    Parameters
    ----------
    labels
        (H, W) uint8 class ids; 0 = background, 255 = ignore.
    regions
        (H, W) integers from `map_classes` or `map_parts` of these labels.
    prompts
        The classes that the labels refer to.

    Returns
    -------
    list of Region
        By their value in the map.

    Raises
    ------
    InputError
        A label is no class of the prompt set.
    """
    starts, stops, values = _find_runs(regions)
    if not len(values):
        return []
    height = len(regions)
    groups = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
    class_ids = labels[starts[groups] % height, starts[groups] // height].tolist()
    _refuse_unknown(class_ids, prompts)
    areas = np.add.reduceat(stops - starts, groups).tolist()
    boxes = _find_boxes(starts, stops, groups, height)
    runs = zip(np.split(starts, groups[1:]), np.split(stops, groups[1:]), strict=True)
    indices: defaultdict[int, Iterator[int]] = defaultdict(count)
    return [
        Region(value, class_id, next(indices[class_id]), area, box, _lengths(*run, labels.size))
        for value, class_id, area, box, run in zip(
            values[groups].tolist(), class_ids, areas, boxes, runs, strict=True
        )
    ]


def _find_runs(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find runs of equal pixels, column after column, by value: their starts, stops and values."""
    pixels = regions.ravel(order="F")
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    stops = np.append(starts[1:], pixels.size)
    values = pixels[starts]
    order = np.argsort(values, kind="stable")
    order = order[np.count_nonzero(values == BACKGROUND) :]
    return starts[order], stops[order], values[order]


def _refuse_unknown(class_ids: list[int], prompts: PromptSet) -> None:
    known = {c.id: c.name for c in prompts.classes}
    unknown = sorted(set(class_ids) - set(known))
    if unknown:
        msg = (
            f"the class ids {unknown} are in the labels but not among the classes, expected "
            f"{', '.join(f'{id_} ({name})' for id_, name in sorted(known.items()))} or 255 "
            "(ignore); correct the labels, or add the classes to the prompt file"
        )
        raise InputError(msg)


def _find_boxes(
    starts: np.ndarray, stops: np.ndarray, groups: np.ndarray, height: int
) -> list[tuple[int, int, int, int]]:
    """Bound groups of runs, of which each may go on in the next column."""
    left, right = starts // height, (stops - 1) // height
    within = left == right
    top = np.where(within, starts % height, 0)
    bottom = np.where(within, (stops - 1) % height, height - 1)
    x, y = np.minimum.reduceat(left, groups), np.minimum.reduceat(top, groups)
    width = np.maximum.reduceat(right, groups) - x + 1
    tall = np.maximum.reduceat(bottom, groups) - y + 1
    return list(zip(x.tolist(), y.tolist(), width.tolist(), tall.tolist(), strict=True))


def _lengths(starts: np.ndarray, stops: np.ndarray, size: int) -> np.ndarray:
    """Lengths of what lies between runs and of the runs, by turns."""
    edges = np.concatenate(([0], np.column_stack((starts, stops)).ravel(), [size]))
    lengths = np.diff(edges)
    return lengths if lengths[-1] else lengths[:-1]
