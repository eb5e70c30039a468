"""COCO files as the labels of pictures."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoiser.errors import InputError, PromptError
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    from pathlib import Path

KEYS = ("images", "annotations", "categories")
HIGHEST_CLASS = 254
LEAST_POLYGON = 6
"""Numbers of a triangle: fewer are no area."""


class CocoFile:
    """A COCO file of annotated pictures.

    Parameters
    ----------
    path
        The file. Annotations that are boxes alone are left out.

    Attributes
    ----------
    sizes
        (height, width) in pixels of the pictures, by file name.
    names
        Name of every category, by its label. Labels are the category ids, but
        one more where they begin at 0, which is no label.
    prompts
        The categories as classes; None where they cannot be: more than 254, or
        names that repeat.

    Raises
    ------
    InputError
        The file is no COCO file.
    """

    def __init__(self, path: Path) -> None:
        document = _read(path)
        try:
            self.sizes = {
                image["file_name"]: (image["height"], image["width"])
                for image in document["images"]
            }
            self._ids = {image["file_name"]: image["id"] for image in document["images"]}
            self._annotations = _group_by_image(document["annotations"])
            categories = {item["id"]: item["name"] for item in document["categories"]}
        except (KeyError, TypeError) as error:
            msg = f"{path} is no COCO file: an entry has no {error}; open another."
            raise InputError(msg) from error
        self._first = int(0 in categories)
        self.names = {id_ + self._first: name for id_, name in categories.items()}
        self.prompts = _as_prompts(self.names)

    def draw_labels(self, name: str) -> np.ndarray:
        """Draw the annotations of a picture, the smaller ones over the larger.

        Parameters
        ----------
        name
            The picture's file name.

        Returns
        -------
        ndarray
            (H, W) uint8, or int32 where there are labels above 254; 0 = none.
        """
        from pycocotools import mask

        size = self.sizes[name]
        small = max(self.names, default=0) <= HIGHEST_CLASS
        labels = np.zeros(size, np.uint8 if small else np.int32)
        annotations = self._annotations.get(self._ids[name], [])
        for item in sorted(annotations, key=lambda item: -item.get("area", 0)):
            for part in _run_lengths(item.get("segmentation"), size):
                labels[mask.decode(part).astype(bool)] = item["category_id"] + self._first
        return labels


def is_coco(path: Path) -> bool:
    """Tell a COCO file from other JSON, without parsing it."""
    text = path.read_bytes()
    return all(f'"{key}"'.encode() in text for key in KEYS)


def _read(path: Path) -> dict[str, Any]:
    problem = None
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        problem = error
    else:
        if isinstance(document, dict) and all(isinstance(document.get(key), list) for key in KEYS):
            return document
    msg = f"{path} is no COCO file, expected the lists {', '.join(KEYS)}; open another."
    raise InputError(msg) from problem


def _as_prompts(names: dict[int, str]) -> PromptSet | None:
    import yaml

    classes = [{"name": name, "id": id_} for id_, name in names.items()]
    try:
        return PromptSet.from_yaml(yaml.safe_dump({"version": 1, "classes": classes}))
    except PromptError:
        return None


def _group_by_image(annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    groups: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        groups[annotation["image_id"]].append(annotation)
    return groups


def _run_lengths(segmentation: Any, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Give polygons, or run lengths packed or not, as packed run lengths; [] for a box alone."""
    from pycocotools import mask

    if isinstance(segmentation, dict):
        packed = isinstance(segmentation["counts"], str)
        return [segmentation if packed else mask.frPyObjects(segmentation, *size)]
    polygons = [polygon for polygon in segmentation or [] if len(polygon) >= LEAST_POLYGON]
    return mask.frPyObjects(polygons, *size) if polygons else []
