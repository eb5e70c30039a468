"""Read the benchmarks' own label files as indices into the classes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError, reason_of
from dinoiser.export.mask_file import open_mask_file
from dinoiser.labels import IGNORE

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = -1
COCO_THINGS = 80
COCO_GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Values from 0 to 181 of stuffthingmaps that have no class."""
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Values of labelIds that are evaluated; others from 0 to 33, and 255, are ignored."""
CONTEXT_IDS = (
    *(0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105),
    *(113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308),
    *(324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454),
    458,
)
"""Labels of PASCAL Context that belong to the usual 60 classes; the rest are background."""


def read_truth(benchmark: str, path: Path) -> np.ndarray:
    """Read the labels of one image.

    Parameters
    ----------
    benchmark
        Name of the benchmark, such as "voc".
    path
        A PNG of labels as published with the data set, or a .mat file of PASCAL
        Context with all 459 labels.

    Returns
    -------
    ndarray
        (H, W) uint8, indices into the benchmark's classes; 255 = ignored.

    Raises
    ------
    InputError
        The file cannot be read, or contains a label that the data set does not
        have.
    """
    if path.suffix == ".mat":
        labels, table = _read_mat(path), _all_of_context(benchmark)
    else:
        labels, table = read_indices(path), _table(benchmark)
    # clipped so that larger labels can be looked up at all; they are refused below
    found = table[np.minimum(labels, len(table) - 1)]
    unknown = (found == UNKNOWN) | (labels >= len(table))
    if unknown.any():
        msg = (
            f"{path} contains label {labels[unknown][0]}, which {benchmark} does not have; give "
            "the folder of the data set as published"
        )
        raise InputError(msg)
    return found.astype(np.uint8)


def read_indices(path: Path) -> np.ndarray:
    """Read the values (H, W) of a single-channel PNG or TIFF: palette indices or grey levels.

    Raises
    ------
    InputError
        The file is missing, damaged, or contains colours.
    """
    try:
        with open_mask_file(path) as image:
            values = np.array(image)
    except Exception as error:  # decoders raise almost anything on damaged files
        msg = f"the labels {path} cannot be read ({reason_of(error)}); get a new copy of the file"
        raise InputError(msg) from error
    if values.ndim != 2 or values.dtype == bool:
        msg = f"{path} contains colours, expected one channel: give an indexed or grey image"
        raise InputError(msg)
    return values


def _read_mat(path: Path) -> np.ndarray:
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        return np.asarray(loadmat(path)["LabelMap"], np.int64)
    except Exception as error:  # almost anything on damaged files
        msg = f"{path} has no 'LabelMap' of PASCAL Context ({error}); get a new copy of the file"
        raise InputError(msg) from error


@cache
def _table(benchmark: str) -> np.ndarray:
    """Label of each value (256,) int16 in the benchmark's PNG files; `UNKNOWN` if it has none.

    Without a background class, 0 is ignored and the other labels shift down by one.
    """
    table = np.full(256, UNKNOWN, np.int16)
    table[255] = IGNORE
    match benchmark:
        case "voc" | "context":
            count = 21 if benchmark == "voc" else 60
            table[:count] = np.arange(count)
        case "voc20" | "context59" | "ade20k":
            count = {"voc20": 20, "context59": 59, "ade20k": 150}[benchmark]
            table[: count + 1] = [IGNORE, *range(count)]
        case "cityscapes":
            table[:34] = IGNORE
            table[list(CITYSCAPES_IDS)] = np.arange(len(CITYSCAPES_IDS))
        case "coco-stuff" | "coco-object":
            values = [value for value in range(182) if value not in COCO_GAPS]
            table[values] = np.arange(len(values))
    if (
        benchmark == "coco-object"
    ):  # as in the paper's converter, stuff and ignored pixels become background
        stuff = table >= COCO_THINGS
        table[table != UNKNOWN] += 1
        table[stuff] = 0
    return table


@cache
def _all_of_context(benchmark: str) -> np.ndarray:
    """Map the 459 labels of PASCAL Context, and 0, to those of a benchmark: (460,) int16."""
    table = np.zeros(460, np.int16)
    table[list(CONTEXT_IDS)] = np.arange(len(CONTEXT_IDS))
    return _table(benchmark)[table]
