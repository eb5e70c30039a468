"""PNG masks, indexed or grey, and the file that says what their values mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dinoiser.atomic import write_file
from dinoiser.errors import InputError, reason_of
from dinoiser.export.mask_colors import find_labels
from dinoiser.export.mask_file import open_mask_file
from dinoiser.export.png_writer import write_pixels
from dinoiser.labels import IGNORE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from PIL.Image import Image

    from dinoiser.prompts import PromptSet
    from dinoiser.segmentation import Segmentation


def mask_palette(prompts: PromptSet) -> np.ndarray | None:
    """Decide how masks are dressed: (256, 3) uint8 RGB colours of labels; None for grey masks.

    A palette has 256 colours: with class ids above 254, masks are grey, of 16 bits.
    """
    return None if prompts.masks == "gray" or prompts.ignore > IGNORE else prompts.palette


def write_mask(labels: np.ndarray, prompts: PromptSet, path: str | Path) -> None:
    """Write labels as a PNG, indexed or grey as the prompts say.

    Parameters
    ----------
    labels
        (H, W) of the prompt set's `label_type`, the indices or grey values:
        class ids, 0 = background, 255 or 65535 = ignore.
    prompts
        The classes that the labels refer to; in an indexed PNG, their colours
        are the palette.
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
    write_pixels(labels, mask_palette(prompts), path)


def write_gray(labels: np.ndarray, path: str | Path) -> None:
    """Write labels as a grey PNG, whose values every program reads as they are.

    Parameters
    ----------
    labels
        (H, W) uint8 or uint16: class ids, 0 = background, 255 or 65535 = ignore.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_pixels(labels, None, path)


def write_png(segmentation: Segmentation, path: str | Path) -> None:
    """Write the labels of a result, see `write_mask`."""
    write_mask(segmentation.labels, segmentation.prompts, path)


def read_mask(
    path: str | Path,
    colors: Mapping[int, str] | None = None,
    again: str = "remove it and label the image again",
) -> np.ndarray:
    """Read labels from a PNG or TIFF, as we or other programs save masks.

    Parameters
    ----------
    path
        The file.
    colors
        Colour of each label, such as `PromptSet.mask_colors`: masks may then
        have another palette, be coloured, or grey. If None, palette indices or
        grey values are the labels.
    again
        How to get the mask again where it cannot be read, for messages.

    Returns
    -------
    ndarray
        (H, W) uint8: class ids, 0 = background, 255 = ignore. Where `colors`
        have labels above 255, or without them the file has 16 bits, uint16,
        65535 = ignore.

    Raises
    ------
    InputError
        The file is missing, damaged or of another kind, or has colours that do not
        tell the labels.
    """
    mask = load_mask_file(path, "mask", "label the image again", again)
    try:
        return find_labels(mask, colors)
    except ValueError as error:
        msg = (
            f"the mask {path} {error}; save it with hard edges as an indexed PNG in the classes' "
            f"colours, or {again}"
        )
        raise InputError(msg) from error


def load_mask_file(
    path: str | Path, what: str, if_missing: str, if_damaged: str | None = None
) -> Image:
    """Read a PNG, or TIFF, of any size, as it is.

    Parameters
    ----------
    path
        The file.
    what
        What it holds, for messages.
    if_missing, if_damaged
        What to do if there is no such file, or it cannot be read, for messages;
        the same by default.

    Raises
    ------
    InputError
        The file is missing, damaged or of another kind.
    """
    try:
        with open_mask_file(Path(path)) as image:
            image.load()
    except FileNotFoundError as error:
        msg = f"there is no {what} {path}; {if_missing}"
        raise InputError(msg) from error
    except Exception as error:  # decoders raise almost anything on damaged files
        msg = f"the {what} {path} cannot be read ({reason_of(error)}); {if_damaged or if_missing}"
        raise InputError(msg) from error
    return image


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
    write_file(path, json.dumps(classes, indent=2).encode() + b"\n")
