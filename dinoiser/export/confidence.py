"""Write the confidence of every pixel as a grey image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dinoiser.export.image_file import write_image

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from dinoiser.segmentation import Segmentation


def build_confidence(segmentation: Segmentation) -> Image:
    """8-bit grey image of the confidence: 0 to 1 becomes 0 to 255, rounded."""
    from PIL import Image

    scaled = np.multiply(segmentation.confidence, 255, dtype=np.float32)
    return Image.fromarray(np.rint(scaled, out=scaled).astype(np.uint8), "L")


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
    write_image(build_confidence(segmentation), path, "PNG")
