"""Read Datumaro's own format: JSON with items and their annotations."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from dinoiser.bridges.shapes import DrawnImage, Segmentation, ShapeAnnotations
from dinoiser.errors import InputError, reason_of

if TYPE_CHECKING:
    from pathlib import Path


class _Drawn(BaseModel):
    type: str
    label_id: int | None = None
    z_order: int = 0
    points: list[float] = []
    rle: dict[str, Any] | None = None


class _Image(BaseModel):
    size: tuple[int, int]
    path: str = ""


class _Item(BaseModel):
    id: str
    annotations: list[_Drawn] = []
    image: _Image


class _Label(BaseModel):
    name: str


class _Labels(BaseModel):
    labels: list[_Label]


class _Categories(BaseModel):
    label: _Labels


class _Document(BaseModel):
    categories: _Categories
    items: list[_Item]


def is_datumaro(document: Any) -> bool:
    """Tell Datumaro's JSON from others."""
    return isinstance(document, dict) and {"categories", "items"} <= document.keys()


def read_datumaro(path: Path, document: Any) -> ShapeAnnotations:
    """Read polygons and masks; other annotations are passed over.

    Raises
    ------
    InputError
        The document is damaged.
    """
    try:
        read = _Document.model_validate(document)
        names = [label.name for label in read.categories.label.labels]
        images = {_image_name(item): _read_item(item, names) for item in read.items}
    except (ValidationError, IndexError) as error:
        msg = f"{path} is not Datumaro's format ({reason_of(error)}); export it again"
        raise InputError(msg) from error
    return ShapeAnnotations(path, images)


def _image_name(item: _Item) -> str:
    return item.id + PurePosixPath(item.image.path).suffix


def _read_item(item: _Item, names: list[str]) -> DrawnImage:
    shapes = []
    for drawn in sorted(item.annotations, key=lambda drawn: drawn.z_order):
        if drawn.label_id is not None and drawn.type in ("mask", "polygon"):
            what = drawn.rle if drawn.type == "mask" else [drawn.points]
            shapes.append(Segmentation(names[drawn.label_id], what))
    return DrawnImage(item.image.size, shapes)
