"""Read Label Studio's JSON: tasks with brush strokes and polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, PositiveInt, TypeAdapter, ValidationError

from dinoiser.bridges.shapes import Brush, DrawnImage, Segmentation, ShapeAnnotations
from dinoiser.errors import InputError, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.bridges.shapes import Shape


class _Value(BaseModel):
    points: list[tuple[float, float]] = []
    rle: list[int] = []
    brushlabels: list[str] = []
    polygonlabels: list[str] = []


class _Result(BaseModel):
    type: str = ""
    original_width: PositiveInt | None = None
    original_height: PositiveInt | None = None
    value: _Value


class _Annotation(BaseModel):
    result: list[_Result]
    was_cancelled: bool = False


class _Task(BaseModel):
    data: dict[str, Any]
    annotations: list[_Annotation] = []
    predictions: list[_Annotation] = []


_TASKS = TypeAdapter(list[_Task])


def is_label_studio(document: Any) -> bool:
    """Tell Label Studio's JSON from others."""
    return isinstance(document, list) and all(
        isinstance(task, dict) and isinstance(task.get("data"), dict) for task in document
    )


def read_label_studio(path: Path, document: Any) -> ShapeAnnotations:
    """Read the latest annotation of each task, without those that were cancelled.

    Results that are neither brush strokes nor polygons are passed over. Of
    predictions nothing is read.

    Raises
    ------
    InputError
        The document is damaged, or no task has an annotation.
    """
    try:
        tasks = _TASKS.validate_python(document)
    except ValidationError as error:
        msg = f"{path} is not Label Studio's JSON ({reason_of(error)}); export it as JSON again"
        raise InputError(msg) from error
    images = {}
    for task in tasks:
        done = [one for one in task.annotations if not one.was_cancelled]
        images[_image_name(path, task)] = _read_results(done[-1].result if done else [])
    if not any(image.shapes for image in images.values()):
        if any(task.annotations for task in tasks):
            msg = f"{path} has no annotations with brush strokes or polygons; draw one of the two"
        else:
            msg = f"{path} has no annotations; submit tasks in Label Studio, and export them again"
        raise InputError(msg)
    return ShapeAnnotations(path, images)


def _read_results(results: list[_Result]) -> DrawnImage:
    """Read the shapes of one annotation; without any, the size is not known."""
    size, shapes = (0, 0), []
    for result in results:
        height, width = result.original_height, result.original_width
        if height and width and (shape := _read_shape(result.value, (height, width))):
            size = height, width
            shapes.append(shape)
    return DrawnImage(size, shapes)


def _read_shape(value: _Value, size: tuple[int, int]) -> Shape | None:
    height, width = size
    if value.rle and value.brushlabels:
        return Brush(value.brushlabels[0], value.rle)
    if value.points and value.polygonlabels:
        # corners are in percent of the image
        corners = [n for x, y in value.points for n in (x * width / 100, y * height / 100)]
        return Segmentation(value.polygonlabels[0], [corners])
    return None


def _image_name(path: Path, task: _Task) -> str:
    """Path of a task's image, without the server that holds it."""
    place = next((value for value in task.data.values() if isinstance(value, str)), None)
    if place is None:
        msg = f"{path} has a task without an image; export it as JSON again"
        raise InputError(msg)
    url = urlsplit(place)
    local = parse_qs(url.query).get("d")  # local files: /data/local-files/?d=a/b.jpg
    name = local[0] if local else unquote(url.path)
    return name.replace("\\", "/").lstrip("/")
