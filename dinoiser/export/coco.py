"""COCO: one JSON file with the annotations of all images."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from dinoiser.export.dataset_file import DatasetWriter, stable_id
from dinoiser.export.options import DEFAULTS, ExportOptions
from dinoiser.export.polygons import trace_polygons
from dinoiser.export.regions import (
    annotated_classes,
    find_regions,
    map_instances,
    map_regions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from dinoiser.export.regions import Region
    from dinoiser.prompts import PromptSet


def build_annotations(
    labels: np.ndarray,
    image_name: str,
    prompts: PromptSet,
    options: ExportOptions = DEFAULTS,
) -> list[dict[str, Any]]:
    """Describe the labels of one image as COCO annotations.

    Parameters
    ----------
    labels
        (H, W) class ids; 0 = background and ignored pixels are left out.
    image_name
        Path relative to the input folder, with forward slashes.
    prompts
        The classes that the labels refer to.
    options
        Polygons or run lengths, one annotation per class or per part, minimum area.

    Returns
    -------
    list of dict
        The entries of the file, by class and, within a class, in reading order
        of its parts. `area` is in pixels, `bbox` is x, y, width and height in
        pixels.

    Raises
    ------
    InputError
        A label is not a class of the prompt set.
    """
    regions = map_regions(labels, options)
    found = find_regions(labels, regions, prompts)
    parts = map_instances(labels, options) if options.polygons else regions
    polygons = _polygons_by_region(parts, regions) if options.polygons else None
    return [
        {
            "id": stable_id(image_name, region.class_id, region.index),
            "image_id": stable_id(image_name),
            "category_id": region.class_id,
            "segmentation": polygons[region.value] if polygons else _rle(region, labels.shape),
            "area": region.area,
            "bbox": list(region.box),
            "iscrowd": 0,
        }
        for region in sorted(found, key=lambda region: (region.class_id, region.index))
        if region.area >= options.min_area
    ]


class CocoWriter(DatasetWriter):
    """A COCO file, written image by image in constant memory.

    A context manager: the file appears under its name when the block ends
    without an error; otherwise an earlier file is left as it was.

    Parameters
    ----------
    path
        The file; missing folders are created.
    prompts
        Its classes, except the background, become the categories, with the same ids.

    Raises
    ------
    OutputError
        The file cannot be written.

    Examples
    --------
    ::

        with CocoWriter("annotations.json", prompts) as coco:
            annotations = build_annotations(result.labels, "a/b.jpg", prompts)
            coco.add("a/b.jpg", result.labels.shape, annotations)
    """

    def __init__(self, path: str | Path, prompts: PromptSet) -> None:
        classes = annotated_classes(prompts)
        super().__init__(path, [{"id": c.id, "name": c.name, "supercategory": ""} for c in classes])

    def add(
        self, image_name: str, size: tuple[int, ...], annotations: Sequence[dict[str, Any]]
    ) -> None:
        """Add an image.

        Parameters
        ----------
        image_name
            Path relative to the input folder, with forward slashes.
        size
            Height and width in pixels.
        annotations
            From `build_annotations`.
        """
        self._add(image_name, size, annotations)


def _rle(region: Region, shape: tuple[int, ...]) -> dict[str, Any]:
    from pycocotools import mask

    size = list(shape)
    rle = mask.frPyObjects({"size": size, "counts": region.run_lengths}, *size)
    return {"size": size, "counts": rle["counts"].decode("ascii")}


def _polygons_by_region(parts: np.ndarray, regions: np.ndarray) -> dict[int, list[list[int]]]:
    """Collect the polygons of each region's parts, as lists x, y, x, y, ..."""
    polygons = defaultdict(list)
    for polygon in trace_polygons(parts).values():
        # a polygon begins at its part's first pixel, which tells the region that it belongs to
        x, y = polygon[0]
        polygons[int(regions[y, x])].append(polygon.ravel().tolist())
    return polygons
