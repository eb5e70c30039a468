"""Read "CVAT for images 1.1": annotations.xml with polygons and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from dinoiser.bridges.shapes import DrawnImage, Runs, Segmentation, ShapeAnnotations
from dinoiser.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from dinoiser.bridges.shapes import Shape


def read_cvat(path: Path) -> ShapeAnnotations:
    """Read the polygons and masks of a file; boxes, points and tags are passed over.

    Raises
    ------
    InputError
        The file is damaged, or of another format.
    """
    try:
        images = {
            element.attrib["name"]: _read_image(element)
            for _, element in ElementTree.iterparse(path)
            if element.tag == "image"
        }
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        msg = f"{path} is not an export of CVAT for images ({error!r}); export it again"
        raise InputError(msg) from error
    if not images:
        msg = f"{path} lists no images; export it from CVAT as 'CVAT for images 1.1'"
        raise InputError(msg)
    return ShapeAnnotations(path, images)


def _read_image(element: Element) -> DrawnImage:
    size = int(element.attrib["height"]), int(element.attrib["width"])
    drawn = [child for child in element if child.tag in ("polygon", "mask")]
    drawn.sort(key=lambda child: int(child.get("z_order", 0)))
    return DrawnImage(size, [_read_shape(child) for child in drawn])


def _read_shape(element: Element) -> Shape:
    text = element.attrib
    if element.tag == "polygon":
        corners = [float(n) for pair in text["points"].split(";") for n in pair.split(",")]
        return Segmentation(text["label"], [corners])
    counts = [int(count) for count in text["rle"].split(",")]
    left, top, width, height = (int(text[key]) for key in ("left", "top", "width", "height"))
    return Runs(text["label"], counts, (left, top, width, height))
