"""Masks as TIFF files that lie in the world where their images do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dinoiser.atomic import atomic_file
from dinoiser.errors import ImageError, InputError
from dinoiser.images.reading import read_format
from dinoiser.labels import IGNORE, ignore_label

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.prompts import PromptSet

GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737, 50844)
"""The tags of GeoTIFF: pixel scale, tie points, transformation, keys and their numbers and texts;
and the rational polynomials of satellite images. A mask has its image's, as they are."""
_NODATA = 42113  # GDAL's
_TILE = (256, 256)  # programs for maps read parts of an image

Tag = tuple[int, int, int, Any, bool]
"""Code, data type, number of values, value, and whether it is of the first page alone."""


def write_geotiff(labels: np.ndarray, prompts: PromptSet, image: Path, path: Path) -> None:
    """Write labels as a TIFF with the colours of the classes and the image's georeference.

    Parameters
    ----------
    labels
        (H, W) of the prompt set's `label_type`: class ids, 0 = background; 255 or
        65535, which is ignored, is declared as nodata.
    prompts
        The classes that the labels refer to. The colours of 16-bit labels do
        not fit into a TIFF, which is grey then.
    image
        The image. Without a georeference of its own, the mask has none either.
    path
        The file; missing folders are created.

    Raises
    ------
    InputError
        The image cannot be read, or is turned by its orientation tag, to which a
        georeference does not apply.
    OutputError
        The file cannot be written.
    """
    from tifffile import imwrite

    ignored = ignore_label(labels.dtype)
    tags = read_georeference(image)
    form: dict[str, Any] = {"photometric": "minisblack"}
    if ignored == IGNORE:
        # a palette of TIFF has 16 bits: 255 is 65535
        form = {"photometric": "palette", "colormap": prompts.palette.T.astype(np.uint16) * 257}
    with atomic_file(path) as file:
        imwrite(
            file,
            labels,
            **form,
            tile=_TILE,
            compression="zlib",
            maxworkers=1,  # images are exported in threads
            metadata=None,
            software="napari-dinoiser",
            extratags=[*tags, (_NODATA, 2, 0, str(ignored), True)],
        )


def read_georeference(image: Path) -> list[Tag]:
    """Read the tags that say where an image lies, as tifffile writes them; none if it has none.

    Raises
    ------
    InputError
        The image cannot be read, or is turned by its orientation tag.
    """
    from tifffile import TiffFile

    from dinoiser.images.tiff import orientation

    try:
        if read_format(image) != "TIFF":
            return []
        with TiffFile(image) as tiff:
            page = tiff.pages.first
            found = [page.tags[code] for code in GEOREFERENCE if code in page.tags]
            tags: list[Tag] = [
                (tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in found
            ]
            turn = orientation(page)
    except ImageError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged files
        msg = f"the georeference of {image} cannot be read ({error}); get a new copy of the image"
        raise InputError(msg) from error
    if tags and turn != 1:
        msg = (
            f"{image} is turned by its orientation tag ({turn}), which programs for maps ignore; "
            "save it upright to export its mask with its georeference"
        )
        raise InputError(msg)
    return tags
