"""Write images such that a full disk is noticed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from dinoiser.atomic import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


def write_image(image: Image, path: str | Path, kind: str, **options: Any) -> None:
    """Write an image, completely or not at all.

    It is encoded in memory first: when Pillow writes to a file itself, it does
    not notice that a full disk accepted only part of the data.

    Parameters
    ----------
    image
        The image to write.
    path
        The file; missing folders are created.
    kind
        Pillow's name for the format.
    options
        Options of Pillow's writer for the format.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    encoded = io.BytesIO()
    image.save(encoded, kind, **options)
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())
