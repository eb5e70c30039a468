"""Write PNG files of drawings such that a full disk is noticed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from dinoiser.atomic import write_file

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


def write_image(image: Image, path: str | Path) -> None:
    """Write an image as PNG, completely or not at all.

    It is encoded in memory first: when Pillow writes to a file itself, it does
    not notice that a full disk accepted only part of the data.

    Parameters
    ----------
    image
        The image to write.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    write_file(path, encoded.getbuffer())
