"""The small images of a report, as texts that stand in the page itself."""

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
from dinoiser.export.overlay import LONGEST_SIDE, blend
from dinoiser.export.png import read_mask
from dinoiser.images import read_image

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.batch.records import Record

QUALITY = 75


def thumbnail_uri(
    output: Path, record: Record, side: int, colors: np.ndarray, *, corrected: bool
) -> str | None:
    """Make a small image of a labelled image.

    Parameters
    ----------
    output
        The job's folder.
    record
        Of an image that was labelled.
    side
        Its longest side in pixels.
    colors
        (256, 3) uint8 RGB, the labels' colours.
    corrected
        Whether a person corrected its mask, so that the preview may be older.

    Returns
    -------
    str or None
        A JPEG as a ``data:`` address: the job's own preview without its
        legend, else the image under its mask, and a corrected mask before the
        preview; None where neither is there.
    """
    sources = [
        partial(_from_overlay, output, record, side),
        partial(_from_mask, output, record, side, colors),
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
    """Cut a preview down to the image, whose (height, width) at full size is given."""
    if size is None:
        return overlay
    scale = min(1.0, LONGEST_SIDE / max(size))
    height, width = (max(1, round(scale * length)) for length in size)
    return overlay[:height, :width]


def _from_mask(output: Path, record: Record, side: int, colors: np.ndarray) -> Image.Image:
    """Draw the image under its labels' colours, as a preview shows it."""
    labels = Image.fromarray(read_mask(result_file(output, record.stem, "png")))
    image = Image.fromarray(read_image(record.path))
    image.thumbnail((side, side))
    ids = np.asarray(labels.resize(image.size, Image.Resampling.NEAREST))
    return Image.fromarray(blend(np.asarray(image), ids, colors))
