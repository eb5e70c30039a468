"""The thumbnails of a report, as text embedded in the page."""

from __future__ import annotations

import base64
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dinoiser.batch.job_images import result_file
from dinoiser.errors import InputError
from dinoiser.export.overlay import NARROWEST, blend, preview_size
from dinoiser.export.png import read_mask
from dinoiser.images.reading import read_image, read_with_missing
from dinoiser.images.settings import AS_STORED

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.batch.records import Record
    from dinoiser.images.settings import ReadSettings
    from dinoiser.prompts import PromptSet

QUALITY = 75


def thumbnail_uri(
    output: Path,
    record: Record,
    side: int,
    prompts: PromptSet,
    reading: ReadSettings = AS_STORED,
    *,
    corrected: bool,
) -> str | None:
    """Make the thumbnail of a labelled image.

    Parameters
    ----------
    output
        The job's folder.
    record
        Record of a labelled image.
    side
        Longest side of the thumbnail in pixels.
    prompts
        The classes, with the colours of their labels on the page and in masks.
    reading
        How the image was read when it was labelled.
    corrected
        Whether the mask was corrected, so that the preview may be outdated.

    Returns
    -------
    str or None
        A JPEG as a ``data:`` URI, made from the job's preview without its
        legend or, failing that, from the image and its mask; in the other
        order if the mask was corrected. None if neither can be read.
    """
    sources = [
        partial(_from_overlay, output, record, side),
        partial(_from_mask, output, record, side, prompts, reading),
    ]
    thumbnail = None
    for source in reversed(sources) if corrected else sources:
        with suppress(InputError):
            thumbnail = source()
            break
    if thumbnail is None:
        return None
    data = BytesIO()
    thumbnail.save(data, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _from_overlay(output: Path, record: Record, side: int) -> Image.Image:
    overlay = read_image(result_file(output, record.stem, "overlay"))
    image = Image.fromarray(_without_legend(overlay, record.size))
    image.thumbnail((side, side))
    return image


def _without_legend(overlay: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Crop a preview to the image, whose full size (height, width) is given.

    The preview's own width says how far it was shrunk: an earlier version had other sizes.
    """
    if size is None:
        return overlay
    height, width = preview_size(size)
    if overlay.shape[1] != max(width, NARROWEST):
        width = overlay.shape[1]
        height = max(1, round(size[0] * width / size[1]))
    return overlay[:height, :width]


def _from_mask(
    output: Path, record: Record, side: int, prompts: PromptSet, reading: ReadSettings
) -> Image.Image:
    """Draw the image with its labels' colours, like a preview."""
    mask = result_file(output, record.stem, "png")
    labels = Image.fromarray(read_mask(mask, prompts.mask_colors))
    image = Image.fromarray(read_with_missing(record.path, reading).rgb)
    image.thumbnail((side, side))
    ids = np.asarray(labels.resize(image.size, Image.Resampling.NEAREST))
    return blend(image, ids, prompts.palette)
