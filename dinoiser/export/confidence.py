"""Write the confidence of every pixel as a grey image, and read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError
from dinoiser.export.png import load_mask_file
from dinoiser.export.png_writer import write_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.segmentation import Segmentation


def confidence_bytes(segmentation: Segmentation) -> np.ndarray:
    """Return the confidence as (H, W) uint8: 0 to 1 becomes 0 to 255, rounded."""
    scaled = np.multiply(segmentation.confidence, 255, dtype=np.float32)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def write_confidence(segmentation: Segmentation, path: str | Path) -> None:
    """Write the confidence as a grey PNG.

    Parameters
    ----------
    segmentation
        The result; its confidence from 0 to 1 becomes 0 to 255.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_pixels(confidence_bytes(segmentation), None, path)


def read_confidence(path: str | Path) -> np.ndarray:
    """Read confidence from a grey PNG.

    Parameters
    ----------
    path
        The file, from `write_confidence`.

    Returns
    -------
    ndarray
        (H, W) float32, from 0 to 1.

    Raises
    ------
    InputError
        The file is missing, damaged or not a grey PNG.
    """
    image = load_mask_file(path, "confidence", 'run the job again with the format "confidence"')
    if (kind := image.mode) != "L":
        msg = f"the confidence {path} has Pillow mode {kind!r}, expected 8-bit grey; label it again"
        raise InputError(msg)
    return np.array(image).astype(np.float32) / 255
