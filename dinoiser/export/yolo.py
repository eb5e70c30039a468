"""YOLO segmentation: one text file of polygons per image, links to the images, and data.yaml."""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import yaml
from PIL import Image

from dinoiser.atomic import PARTIAL_SUFFIX, replace_file, write_error, write_file
from dinoiser.errors import InputError, OutputError
from dinoiser.export.options import DEFAULTS, ExportOptions
from dinoiser.export.polygons import trace_polygons
from dinoiser.export.regions import annotated_classes, find_regions, map_instances
from dinoiser.images.large_tiff import is_large_tiff
from dinoiser.images.reading import (
    is_rare_tiff,
    read_format,
    read_orientation,
    read_with_missing,
)
from dinoiser.images.settings import AS_STORED

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from dinoiser.images.settings import ReadSettings
    from dinoiser.prompts import PromptSet


def build_yolo(labels: np.ndarray, prompts: PromptSet, options: ExportOptions = DEFAULTS) -> str:
    """Describe the labels of one image in YOLO's segmentation format.

    Parameters
    ----------
    labels
        (H, W) class ids; 0 = background and ignored pixels are left out.
    prompts
        The classes that the labels refer to.
    options
        Parts with fewer than `min_area` pixels are left out; with instances, they are split.

    Returns
    -------
    str
        One line per 4-connected part or, with instances, piece of one, in
        reading order: the class's index (from 0, by id), then the polygon's
        x / W and y / H with 8 decimals.

    Raises
    ------
    InputError
        A label is not a class of the prompt set.
    """
    parts = map_instances(labels, options)
    polygons = trace_polygons(parts)
    indices = {c.id: index for index, c in enumerate(annotated_classes(prompts))}
    # each coordinate is formatted once per image rather than once per corner
    down, across = (_fractions(size) for size in labels.shape)
    lines = []
    for region in find_regions(labels, parts, prompts):
        if region.area >= options.min_area:
            corners = [f"{across[x]} {down[y]}" for x, y in polygons[region.value].tolist()]
            lines.append(f"{indices[region.class_id]} {' '.join(corners)}\n")
    return "".join(lines)


def _fractions(size: int) -> list[str]:
    """Format every coordinate from 0 to size as a fraction of size."""
    return [f"{place / size:.8f}".rstrip("0").rstrip(".") for place in range(size + 1)]


def write_yolo(text: str, path: str | Path) -> None:
    """Write the lines of one image; an empty file says that it contains no objects.

    Parameters
    ----------
    text
        From `build_yolo`.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_file(path, text.encode())


def write_data_yaml(output: Path, prompts: PromptSet, *, with_lists: bool = False) -> None:
    """Write data.yaml: where the images are and what the classes' indices mean.

    Parameters
    ----------
    output
        The folder that holds `images` and `labels`.
    prompts
        Its classes, except the background, are numbered from 0 by id.
    with_lists
        Whether train.txt and val.txt list the images.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    data = {
        "path": str(output.resolve()),
        # readers require a validation set; without lists, it is the training set
        "train": "train.txt" if with_lists else "images",
        "val": "val.txt" if with_lists else "images",
        "names": {index: c.name for index, c in enumerate(annotated_classes(prompts))},
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_file(output / "data.yaml", text.encode())


def link_image(
    image: Path,
    path: Path,
    reading: ReadSettings = AS_STORED,
    *,
    hard: bool = False,
    ours: bool = False,
) -> None:
    """Put an image where readers look for it: as a link or, if that fails, a copy.

    Polygons are those of the upright image, but not all readers turn images as
    their EXIF or TIFF orientation says. An image that it turns becomes an
    upright copy, of 8 bits; so does a TIFF that most readers cannot open, or
    whose bands were chosen.

    Parameters
    ----------
    image
        The image.
    path
        The link; missing folders are created. An earlier link is replaced.
    reading
        How the image was read when it was labelled.
    hard
        Make a hard link, for readers that follow no links out of the folder.
    ours
        Whether the folder holds nothing but exports, so that any file is replaced.

    Raises
    ------
    InputError
        The image does not exist.
    OutputError
        Another file is in the way, or the link cannot be written.
    """
    if not image.is_file():
        msg = f"there is no image {image}; restore it, or label the images where they are now"
        raise InputError(msg)
    copied = read_orientation(image) in range(2, 9)
    if (reading.bands is not None and read_format(image) == "TIFF") or is_rare_tiff(image):
        copied |= not is_large_tiff(image, reading)
    if _is_there(image, path, copied):
        return
    if path.exists() and not (path.is_symlink() or ours):
        msg = f"{path} is in the way of a link to {image}; move it and export again."
        raise OutputError(msg)
    # made under a temporary name and renamed, so that an earlier link is replaced in one step
    link = path.with_name(f".{uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if copied:
            _copy_upright(image, link, reading)
        else:
            _link_or_copy(image.resolve(), link, hard)
        replace_file(link, path)
    except OSError as error:
        with suppress(OSError):
            link.unlink()
        raise write_error(path, error) from error


def _is_there(image: Path, path: Path, copied: bool) -> bool:
    """Whether a path is the image itself, a link to it, or a copy of it."""
    if not path.exists():
        return False
    if path.samefile(image):  # a link shows it as it is stored, not upright
        return not copied or is_same_place(path, image)
    if path.is_symlink():
        return False
    if copied:  # which keeps the time of the original
        return path.stat().st_mtime_ns == image.stat().st_mtime_ns
    return filecmp.cmp(path, image)  # reads them only where the times differ


def is_same_place(one: Path, other: Path) -> bool:
    """Whether two paths name one entry of a folder, and not links to one file."""
    if one.name != other.name:
        return False
    return one.parent.resolve() == other.parent.resolve()


def _copy_upright(image: Path, path: Path, reading: ReadSettings) -> None:
    pixels = read_with_missing(image, reading).rgb
    Image.fromarray(pixels).save(path, read_format(image), quality=95)
    _keep_time(image, path)


def _link_or_copy(image: Path, path: Path, hard: bool) -> None:
    try:
        path.hardlink_to(image) if hard else path.symlink_to(image)
    except OSError:  # Windows without the privilege, other disks, and some file systems
        # without its permissions: Windows neither replaces nor removes what is read-only
        shutil.copyfile(image, path)
        _keep_time(image, path)


def _keep_time(image: Path, copy: Path) -> None:
    """Give a copy the time of the original, by which a later export knows it."""
    status = image.stat()
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
