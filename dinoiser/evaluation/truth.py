"""The benchmarks' own label files -> indices into the classes, converted while reading."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError
from dinoiser.segmentation import IGNORE

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = -1
COCO_THINGS = 80
COCO_GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Of the values 0-181 of stuffthingmaps, those that no class has."""
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Values of labelIds that are evaluated; the others of 0-33, and 255, are left out."""
CONTEXT_IDS = (
    *(0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105),
    *(113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308),
    *(324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454),
    458,
)
"""Of the 459 labels of PASCAL Context, those of the usual 60 classes; the others are background."""


def read_truth(benchmark: str, path: Path) -> np.ndarray:
    """Read the labels of one image.

    Parameters
    ----------
    benchmark
        Its name, such as "voc".
    path
        A PNG of labels as the data set is published, or a .mat of PASCAL
        Context with all 459 labels.

    Returns
    -------
    ndarray
        (H, W) uint8, indices into the benchmark's classes; 255 = left out.

    Raises
    ------
    InputError
        The file cannot be read, or holds a label that the data set does not
        have.
    """
    if path.suffix == ".mat":
        labels, table = _read_mat(path), _all_of_context(benchmark)
    else:
        labels, table = read_indices(path), _table(benchmark)
    found = table[np.minimum(labels, len(table) - 1)]
    unknown = (found == UNKNOWN) | (labels >= len(table))
    if unknown.any():
        msg = (
            f"{path} holds the label {labels[unknown][0]}, which {benchmark} does not have; give "
            "the folder of the data set as it is published"
        )
        raise InputError(msg)
    return found.astype(np.uint8)


def read_indices(path: Path) -> np.ndarray:
    """Read the values (H, W) of a PNG of one channel: palette indices or grey levels.

    Raises
    ------
    InputError
        The file is missing, damaged, or has colours in the place of values.
    """
    from PIL.PngImagePlugin import PngImageFile

    try:
        with path.open("rb") as file, PngImageFile(file) as image:
            values = np.array(image)
    except Exception as error:  # decoders raise almost anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"the labels {path} cannot be read ({reason}); get the file anew"
        raise InputError(msg) from error
    if values.ndim != 2 or values.dtype == bool:
        msg = f"{path} holds colours, expected one channel of labels; give an indexed or grey PNG"
        raise InputError(msg)
    return values


def _read_mat(path: Path) -> np.ndarray:
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        return np.asarray(loadmat(path)["LabelMap"], np.int64)
    except Exception as error:  # whatever a damaged file makes of it
        msg = f"{path} holds no 'LabelMap' of PASCAL Context ({error}); get the file anew"
        raise InputError(msg) from error


@cache
def _table(benchmark: str) -> np.ndarray:
    """Label of every value (256,) int16 of the benchmark's PNG files; `UNKNOWN` where it has none.

    Without a background class, 0 is left out and the labels move down by one.
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
    if benchmark == "coco-object":  # the converter that the paper used keeps nothing out
        stuff = table >= COCO_THINGS
        table[table != UNKNOWN] += 1
        table[stuff] = 0
    return table


@cache
def _all_of_context(benchmark: str) -> np.ndarray:
    """Label of each of the 459 labels, and of 0, of PASCAL Context: (460,) int16."""
    table = np.zeros(460, np.int16)
    table[list(CONTEXT_IDS)] = np.arange(len(CONTEXT_IDS))
    return _table(benchmark)[table]
