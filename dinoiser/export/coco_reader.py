"""Read COCO files as labels: the inverse of `dinoiser.export.coco`."""

from __future__ import annotations

import json
import math
import reprlib
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, ValidationError

from dinoiser.errors import ImageError, InputError
from dinoiser.images.pixel_limit import check_pixels, pixel_limit
from dinoiser.labels import IGNORE

if TYPE_CHECKING:
    from pathlib import Path

LISTS = ("images", "annotations", "categories")
LEAST_POLYGON = 6
"""Numbers that describe a triangle; a polygon with fewer has no area."""


class CocoReader:
    """Draws the annotations of a COCO file as labels.

    Parameters
    ----------
    path
        The file. Annotations with only a box are skipped.

    Attributes
    ----------
    sizes
        (height, width) of each image in pixels, by file name.
    shift
        Added to category ids to make labels: 1 if there is a category 0, as 0
        means no label, otherwise 0.
    names
        Name of each category, by label.
    notes
        What a person should know of the file, a sentence each.

    Raises
    ------
    InputError
        The file is not a COCO file, or one of its entries is incomplete.

    See Also
    --------
    dinoiser.export.CocoWriter : the inverse.
    """

    def __init__(self, path: Path) -> None:
        document = _read(path)
        self.path = path
        self.sizes = {image.file_name: (image.height, image.width) for image in document.images}
        self.shift = int(any(category.id == 0 for category in document.categories))
        self.names = {item.id + self.shift: item.name for item in document.categories}
        self._ids = {image.file_name: image.id for image in document.images}
        self._annotations: defaultdict[int | str, list[_Annotation]] = defaultdict(list)
        for annotation in document.annotations:
            self._annotations[annotation.image_id].append(annotation)
        self.notes = self._note_strays()

    def is_annotated(self, name: str) -> bool:
        """Whether an image has any annotation with polygons or run lengths."""
        return any(item.segmentation for item in self._annotations.get(self._ids[name], []))

    def draw_labels(self, name: str) -> np.ndarray:
        """Draw the annotations of an image, smaller ones over larger ones.

        Parameters
        ----------
        name
            The image's file name.

        Returns
        -------
        ndarray
            (H, W) uint8, or int32 if there are labels above 254; 0 = none.

        Raises
        ------
        InputError
            An annotation has an unknown category, or does not fit the image,
            or the image is larger than `dinoiser.read_image` accepts.
        """
        height, width = self.sizes[name]
        try:
            check_pixels(width, height, pixel_limit())
        except ImageError as error:
            msg = f"{self.path}, {name}: {error}"
            raise InputError(msg) from error
        # bytes suffice below 255, which is kept for ignored pixels
        small = max(self.names, default=0) < IGNORE
        labels = np.zeros((height, width), np.uint8 if small else np.int32)
        annotations = self._annotations.get(self._ids[name], [])
        for annotation in sorted(annotations, key=lambda item: -item.area):
            label = annotation.category_id + self.shift
            if label not in self.names:
                msg = (
                    f"{self.path} has an annotation of {name} with category_id "
                    f"{annotation.category_id}, which is not among its categories; add it there."
                )
                raise InputError(msg)
            try:
                labels[draw_segmentation(annotation.segmentation, labels.shape)] = label
            except ValueError as error:
                msg = (
                    f"{self.path} has an annotation of {name} that is neither polygons nor run "
                    f"lengths for an image of {width}x{height} pixels; export the file again."
                )
                raise InputError(msg) from error
        return labels

    def _note_strays(self) -> list[str]:
        """Say that there are annotations of images that the file does not list, if there are."""
        strays = self._annotations.keys() - set(self._ids.values())
        if not strays:
            return []
        first = next(number for number in self._annotations if number in strays)
        count = sum(len(self._annotations[number]) for number in strays)
        if count == 1:
            which = f"belongs to an image that the file does not list: image_id {first}"
        else:
            which = f"belong to images that the file does not list, such as image_id {first}"
        return [f"{count:,} annotation{'s' * (count > 1)} of {self.path.name} {which}"]


def is_coco(path: Path) -> bool:
    """Tell a COCO file from other JSON without parsing it."""
    text = path.read_bytes()
    return all(f'"{key}"'.encode() in text for key in LISTS)


class _Image(BaseModel):
    id: int | str
    file_name: str
    height: PositiveInt
    width: PositiveInt


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    area: float = 0.0
    segmentation: Any = None  # most of the file's bytes, so checked only when drawn


class _Category(BaseModel):
    id: Annotated[int, Field(ge=0, lt=2**31 - 1)]  # with `shift` added, it must fit int32
    name: str


class _Document(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _RunLengths(BaseModel):
    size: tuple[int, int]
    counts: str | list[Annotated[int, Field(ge=0)]]


# Both are bounded, as the memory that pycocotools needs grows with the length of a polygon's edges,
# about 100 bytes a pixel, however small the image is.
_MOST_OUTLINE = 1e7  # pixels
_Coordinate = Annotated[float, Field(gt=-1e6, lt=1e6)]
_SEGMENTATION: TypeAdapter[_RunLengths | list[list[float]] | None] = TypeAdapter(
    _RunLengths | list[list[_Coordinate]] | None
)


def _read(path: Path) -> _Document:
    try:
        return _Document.model_validate(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:  # deep nesting is no ValueError
        problem = _first_problem(error) if isinstance(error, ValidationError) else _no_lists()
        msg = f"{path} is not a COCO file{problem}."
        raise InputError(msg) from error


def _first_problem(error: ValidationError) -> str:
    """Describe the first problem, as the end of a sentence."""
    # the place is (list, index, key, ...), such as ("images", 3, "width")
    first = error.errors()[0]
    kind, *place = first["loc"] or ("",)
    if not place:
        return _no_lists()
    if first["type"] == "missing" and "segments_info" in first["input"]:
        return ", but one of panoptic segments, which are not read; give one of instances instead"
    if first["type"] == "missing":
        return f": an entry of its {kind} has no {place[-1]!r}; give another"
    what, value = ("entry", *place[1:])[-1], reprlib.repr(first["input"])
    return f": in its {kind}, the {what} {value} is wrong ({first['msg']}); give another"


def _no_lists() -> str:
    return f", which has the lists {', '.join(LISTS)}; give another"


def draw_segmentation(segmentation: Any, size: tuple[int, ...]) -> np.ndarray:
    """Draw one annotation as (H, W) bool, all False if it has only a box.

    Raises
    ------
    ValueError
        It has another form or another size.
    """
    from pycocotools import mask

    found = _SEGMENTATION.validate_python(segmentation)
    if isinstance(found, _RunLengths):
        run_lengths = found.model_dump()
        # compressed counts (str) are checked by their size; plain ones must also add up
        fits = found.size == size
        if not isinstance(found.counts, str):
            fits = fits and sum(found.counts) == math.prod(size)
        if not fits:
            msg = f"run lengths of {found.size} pixels (height, width)"
            raise ValueError(msg)
        if not isinstance(found.counts, str):
            run_lengths = mask.frPyObjects(run_lengths, *size)
        return mask.decode(run_lengths).astype(bool)
    # polygons of one annotation are united
    polygons = [polygon for polygon in found or [] if len(polygon) >= LEAST_POLYGON]
    if not polygons:
        return np.zeros(size, bool)
    if max(map(_outline, polygons)) > _MOST_OUTLINE:
        msg = f"a polygon's outline is longer than {_MOST_OUTLINE:,.0f} pixels"
        raise ValueError(msg)
    return mask.decode(mask.merge(mask.frPyObjects(polygons, *size))).astype(bool)


def _outline(polygon: list[float]) -> float:
    """Length of a polygon's outline in pixels, by the longer side of each edge."""
    corners = np.reshape(polygon[: len(polygon) // 2 * 2], (-1, 2))
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
