"""Divide labels into regions, the pixels of one annotation each, in one pass."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError
from dinoiser.export.split import split_parts
from dinoiser.labels import ignore_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dinoiser.export.options import ExportOptions
    from dinoiser.prompts import PromptClass, PromptSet

BACKGROUND = 0


@dataclass(frozen=True)
class Region:
    """The pixels of one annotation.

    Attributes
    ----------
    value
        Its value in the map of regions.
    class_id
        Its class.
    index
        Its number among the image's regions of this class, from 0 in reading
        order.
    area
        Number of pixels.
    box
        x, y, width and height in pixels.
    run_lengths
        (N,) int64: numbers of pixels alternately outside and inside, outside
        first, column by column from top to bottom, as in COCO.
    """

    value: int
    class_id: int
    index: int
    area: int
    box: tuple[int, int, int, int]
    run_lengths: np.ndarray


def annotated_classes(prompts: PromptSet) -> list[PromptClass]:
    """Return the classes that get annotations, by id: all but the background."""
    return sorted((c for c in prompts.classes if not c.background), key=lambda c: c.id)


def map_classes(labels: np.ndarray) -> np.ndarray:
    """Map every pixel to its class, (H, W) of the labels' type; 0 = background or ignored."""
    return np.where(labels == ignore_label(labels.dtype), labels.dtype.type(BACKGROUND), labels)


def map_parts(labels: np.ndarray) -> np.ndarray:
    """Map every pixel to its 4-connected part of a class.

    Parameters
    ----------
    labels
        (H, W) uint8 or uint16 class ids; 0 = background, 255 or 65535 = ignore.

    Returns
    -------
    ndarray
        (H, W) int32, of 2^32 pixels or more int64: 0 = background or ignored; parts
        are numbered from 1 in the reading order of their first pixels.
    """
    from skimage.measure import label  # slow to import

    parts = label(map_classes(labels), background=BACKGROUND, connectivity=1)
    # of 64 bits, which would be most of the memory that an export takes
    return parts.astype(np.int32) if labels.size < 2**32 else parts


def map_instances(labels: np.ndarray, options: ExportOptions) -> np.ndarray:
    """Map every pixel to its part of a class, divided where `options` ask for it.

    Returns
    -------
    ndarray
        (H, W) integers, see `map_parts`.
    """
    parts = map_parts(labels)
    return split_parts(parts, options.split) if options.instances and options.split else parts


def number_objects(labels: np.ndarray, options: ExportOptions) -> np.ndarray:
    """Give each object that has `options.min_area` pixels or more a number.

    Returns
    -------
    ndarray
        (H, W) integers: 0 = background, ignored or smaller; others from 1 without
        gaps, else see `map_instances`.
    """
    parts = map_instances(labels, options)
    kept = np.bincount(parts.ravel()) >= options.min_area
    kept[BACKGROUND] = False
    return (kept.cumsum() * kept)[parts]


def map_regions(labels: np.ndarray, options: ExportOptions) -> np.ndarray:
    """Map every pixel to its object, or else its class, as `options` ask: (H, W) integers."""
    return map_instances(labels, options) if options.instances else map_classes(labels)


def find_regions(labels: np.ndarray, regions: np.ndarray, prompts: PromptSet) -> list[Region]:
    """Measure the regions of a map.

    Parameters
    ----------
    labels
        (H, W) uint8 or uint16 class ids; 0 = background, 255 or 65535 = ignore.
    regions
        (H, W) integers from `map_regions` or `map_instances` of these labels.
    prompts
        The classes that the labels refer to.

    Returns
    -------
    list of Region
        Sorted by value in the map.

    Raises
    ------
    InputError
        A label is not a class of the prompt set.
    """
    # runs, sorted by value, so that those of a region are adjacent
    starts, stops, values = _find_runs(regions)
    if not len(values):
        return []
    height = len(regions)
    # index of each region's first run; the run's first pixel tells the class
    groups = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
    class_ids = labels[starts[groups] % height, starts[groups] // height].tolist()
    _refuse_unknown(class_ids, prompts)
    # sums, bounds and run lengths of each group of runs
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
    """Find runs of equal pixels in column order; return starts, stops and values by value."""
    # a run may continue from the bottom of a column to the top of the next
    pixels = regions.ravel(order="F")
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    stops = np.append(starts[1:], pixels.size)
    values = pixels[starts]
    order = np.argsort(values, kind="stable")
    # background has the lowest value, so its runs come first and are dropped
    order = order[np.count_nonzero(values == BACKGROUND) :]
    return starts[order], stops[order], values[order]


def _refuse_unknown(class_ids: list[int], prompts: PromptSet) -> None:
    known = {c.id: c.name for c in prompts.classes}
    unknown = sorted(set(class_ids) - set(known))
    if unknown:
        msg = (
            f"the labels contain class ids {unknown}, which are not among the classes; expected "
            f"{', '.join(f'{id_} ({name})' for id_, name in sorted(known.items()))} or "
            f"{prompts.ignore} (ignore); correct the labels, or add the classes to the prompt file"
        )
        raise InputError(msg)


def _find_boxes(
    starts: np.ndarray, stops: np.ndarray, groups: np.ndarray, height: int
) -> list[tuple[int, int, int, int]]:
    """Bounding box of each group of runs, which may continue into the next columns."""
    left, right = starts // height, (stops - 1) // height
    within = left == right
    # a run that crosses into another column reaches the bottom of one and the top of the next
    top = np.where(within, starts % height, 0)
    bottom = np.where(within, (stops - 1) % height, height - 1)
    x, y = np.minimum.reduceat(left, groups), np.minimum.reduceat(top, groups)
    width = np.maximum.reduceat(right, groups) - x + 1
    tall = np.maximum.reduceat(bottom, groups) - y + 1
    return list(zip(x.tolist(), y.tolist(), width.tolist(), tall.tolist(), strict=True))


def _lengths(starts: np.ndarray, stops: np.ndarray, size: int) -> np.ndarray:
    """Lengths of the gaps and runs, alternately, beginning with a gap."""
    edges = np.concatenate(([0], np.column_stack((starts, stops)).ravel(), [size]))
    lengths = np.diff(edges)
    return lengths if lengths[-1] else lengths[:-1]  # no empty gap at the end
