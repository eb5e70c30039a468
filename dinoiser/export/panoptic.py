"""COCO panoptic: one image of segment ids per image, and one JSON file about all segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dinoiser.errors import InputError
from dinoiser.export.dataset_file import DatasetWriter, stable_id
from dinoiser.export.image_file import write_image
from dinoiser.export.options import DEFAULTS, ExportOptions
from dinoiser.export.regions import annotated_classes, find_regions, map_regions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dinoiser.prompts import PromptSet

VOID = 0
MOST_SEGMENTS = 2**24 - 1
"""An id is stored in three bytes: red, green and blue."""


def build_panoptic(
    labels: np.ndarray, prompts: PromptSet, options: ExportOptions = DEFAULTS
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Divide the labels of one image into segments.

    Parameters
    ----------
    labels
        (H, W) class ids; 0 = background and ignored pixels become void.
    prompts
        The classes that the labels refer to.
    options
        One segment per class or per part; those below the minimum area become void.

    Returns
    -------
    ids : ndarray
        (H, W) integers: the segment of every pixel, 0 = void. Without
        instances, a segment's id is the class id.
    segments : list of dict
        `segments_info` of the file, sorted by id. `area` is in pixels, `bbox`
        is x, y, width and height in pixels.

    Raises
    ------
    InputError
        A label is not a class of the prompt set, or there are too many segments.
    """
    ids = map_regions(labels, options)
    found = find_regions(labels, ids, prompts)
    # an id must fit into the three bytes of a pixel
    if len(found) > MOST_SEGMENTS:
        msg = (
            f"there are {len(found)} segments, but a panoptic image holds {MOST_SEGMENTS}; "
            "export without instances"
        )
        raise InputError(msg)
    # the pixels of dropped segments become void; other ids stay as they are
    kept = [region for region in found if region.area >= options.min_area]
    if len(kept) < len(found):
        ids = np.where(np.isin(ids, [region.value for region in kept]), ids, VOID)
    segments = [
        {
            "id": region.value,
            "category_id": region.class_id,
            "area": region.area,
            "bbox": list(region.box),
            "iscrowd": 0,
        }
        for region in kept
    ]
    return ids, segments


def write_panoptic_png(ids: np.ndarray, path: str | Path) -> None:
    """Write segment ids as an RGB image: id = R + 256 G + 256 ** 2 B.

    Parameters
    ----------
    ids
        (H, W) integers from 0 to 2 ** 24 - 1.
    path
        The file; missing folders are created.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    from PIL import Image

    # (H, W) 4-byte integers -> (H, W, 4) bytes, lowest first -> (H, W, 3) = R, G, B
    colors = np.ascontiguousarray(ids, "<u4").view(np.uint8).reshape(*ids.shape, 4)[..., :3]
    write_image(Image.fromarray(np.ascontiguousarray(colors)), path)


class PanopticWriter(DatasetWriter):
    """The JSON file about all segments, written image by image.

    A context manager like `CocoWriter`.

    Parameters
    ----------
    path
        The file; missing folders are created.
    prompts
        Its classes, except the background, become the categories, with the same ids.
    options
        With instances, categories are things; without, they are stuff.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def __init__(
        self, path: str | Path, prompts: PromptSet, options: ExportOptions = DEFAULTS
    ) -> None:
        categories = [
            {
                "id": c.id,
                "name": c.name,
                "supercategory": "",
                "isthing": int(options.instances),
                "color": prompts.palette[c.id].tolist(),
            }
            for c in annotated_classes(prompts)
        ]
        super().__init__(path, categories)

    def add(
        self,
        image_name: str,
        size: tuple[int, ...],
        png_name: str,
        segments: Sequence[dict[str, Any]],
    ) -> None:
        """Add an image.

        Parameters
        ----------
        image_name
            Path relative to the input folder, with forward slashes.
        size
            Height and width in pixels.
        png_name
            Path of the image of segment ids, relative to the panoptic folder.
        segments
            From `build_panoptic`.
        """
        annotation = {
            "image_id": stable_id(image_name),
            "file_name": png_name,
            "segments_info": list(segments),
        }
        self._add(image_name, size, [annotation])
