"""Writing images so that a full disk is noticed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from dinoiser.atomic import atomic_file

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


def write_image(image: Image, path: str | Path, kind: str, **options: Any) -> None:
    """Write an image, whole or not at all.

    It is encoded in memory first: given a file, Pillow does not notice when a
    full disk takes only a part of what it writes.

    Parameters
    ----------
    image
        What to write.
    path
        The file; its folder is made when missing.
    kind
        Pillow's name of the format.
    options
        See Pillow.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    encoded = io.BytesIO()
    image.save(encoded, kind, **options)
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())
