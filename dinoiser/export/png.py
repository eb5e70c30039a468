"""Indexed PNG masks, and the file that says what their indices mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.atomic import atomic_file
from dinoiser.errors import InputError
from dinoiser.export.image_file import write_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from dinoiser.prompts import PromptSet
    from dinoiser.segmentation import Segmentation


def build_mask(labels: np.ndarray, prompts: PromptSet) -> Image:
    """Palette image: its indices are the labels, its colours those of the classes."""
    from PIL import Image

    mask = Image.fromarray(labels, "L")
    mask.putpalette(prompts.palette.tobytes(), "RGB")
    return mask


def write_mask(labels: np.ndarray, prompts: PromptSet, path: str | Path) -> None:
    """Write labels as an indexed PNG.

    Parameters
    ----------
    labels
        (H, W) uint8, the palette indices: class ids, 0 = background, 255 =
        ignore.
    prompts
        The classes that the labels refer to; their colours are the palette.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.

    See Also
    --------
    read_mask : the inverse.
    """
    write_image(build_mask(labels, prompts), path, "PNG")


def write_png(segmentation: Segmentation, path: str | Path) -> None:
    """Write the labels of a result, see `write_mask`."""
    write_mask(segmentation.labels, segmentation.prompts, path)


def read_mask(path: str | Path) -> np.ndarray:
    """Read labels from an indexed PNG.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ndarray
        (H, W) uint8: the palette indices, which are class ids, 0 = background,
        255 = ignore.

    Raises
    ------
    InputError
        The file is missing, damaged or not an indexed PNG.
    """
    from PIL.PngImagePlugin import PngImageFile  # has no size limit, unlike Image.open

    try:
        with Path(path).open("rb") as file, PngImageFile(file) as mask:
            kind, labels = mask.mode, np.array(mask)
    except FileNotFoundError as error:
        msg = f"there is no mask {path}; label the image again"
        raise InputError(msg) from error
    except Exception as error:  # decoders raise almost anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"the mask {path} cannot be read ({reason}); label the image again"
        raise InputError(msg) from error
    if kind != "P":
        msg = (
            f"the mask {path} has Pillow mode {kind!r}, expected palette indices; save "
            "it as an indexed 8-bit PNG, or label the image again"
        )
        raise InputError(msg)
    return labels


def write_classes(prompts: PromptSet, path: str | Path) -> None:
    """Write the meaning of class ids, as JSON for other programs.

    Parameters
    ----------
    prompts
        The classes; for each: id, name, color ("#rrggbb") and phrases.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    classes = [
        {"id": c.id, "name": c.name, "color": c.color, "phrases": list(c.phrases)}
        for c in prompts.classes
    ]
    with atomic_file(path) as file:
        file.write(json.dumps(classes, indent=2).encode() + b"\n")
