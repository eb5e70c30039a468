"""Masks as TIFF files that lie in the world where their images do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dinoiser.atomic import atomic_file
from dinoiser.errors import InputError
from dinoiser.images.reading import read_format, read_orientation
from dinoiser.labels import IGNORE, ignore_label

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.prompts import PromptSet

GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737, 50844)
"""The tags of GeoTIFF: pixel scale, tie points, transformation, keys and their numbers and texts;
and the rational polynomials of satellite images. A mask has its image's, as they are."""
_TRANSFORMATION = 34264
_NODATA = 42113  # GDAL's
_TEXT, _DOUBLE = 2, 12  # data types of TIFF
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
        The image. Where nothing says where it lies, the mask is a plain TIFF.
    path
        The file; missing folders are created.

    Raises
    ------
    InputError
        See `read_georeference`.
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
            extratags=[*tags, (_NODATA, _TEXT, 0, str(ignored), True)],
        )


def read_georeference(image: Path) -> list[Tag]:
    """Read what says where an image lies, as TIFF tags; none if nothing does.

    Its own tags count before a world file beside it, which knows no coordinate system.

    Raises
    ------
    InputError
        The image or its world file cannot be read, or the image is turned by its
        orientation tag.
    """
    tags, turn = _own_tags(image) if read_format(image) == "TIFF" else ([], read_orientation(image))
    tags = tags or _world_file_tags(image)
    if tags and turn != 1:
        msg = (
            f"{image} is turned by its orientation tag ({turn}), which programs for maps ignore; "
            "save it upright to export its mask with its georeference"
        )
        raise InputError(msg)
    return tags


def _own_tags(image: Path) -> tuple[list[Tag], int]:
    """Read the tags of a TIFF, and how it is turned, see `upright`."""
    from tifffile import TiffFile

    from dinoiser.images.tiff import first_series, orientation

    try:
        with TiffFile(image) as tiff:
            page = first_series(tiff).keyframe
            found = [page.tags[code] for code in GEOREFERENCE if code in page.tags]
            tags: list[Tag] = [(t.code, int(t.dtype), t.count, t.value, True) for t in found]
            return tags, orientation(page)
    except Exception as error:  # decoders raise almost anything on damaged files
        msg = f"the georeference of {image} cannot be read ({error}); get a new copy of the image"
        raise InputError(msg) from error


def _world_file_tags(image: Path) -> list[Tag]:
    """Read the world file of an image, such as a.tfw or a.jgw; its six numbers as a matrix."""
    ending = image.suffix[1:]
    names = (f"{ending[:1]}{ending[-1:]}w", f"{ending}w", "wld")
    places = (image.with_suffix(f".{name}") for each in names for name in (each, each.upper()))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return []
    try:
        # columns right and down, rows right and down, and the centre of the first pixel
        a, d, b, e, x, y = map(float, path.read_text(encoding="ascii").split())
    except (OSError, ValueError) as error:
        msg = f"the world file {path} does not hold six numbers ({error}); mend it or move it away"
        raise InputError(msg) from error
    # a pixel of GeoTIFF begins at its corner
    across, down = (a, b, 0.0, x - (a + b) / 2), (d, e, 0.0, y - (d + e) / 2)
    matrix = (*across, *down, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    return [(_TRANSFORMATION, _DOUBLE, len(matrix), matrix, True)]
