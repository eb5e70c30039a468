"""Shapes that people draw, and images made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dinoiser.errors import ImageError, InputError
from dinoiser.export.brush import decode_brush
from dinoiser.export.coco_reader import draw_segmentation
from dinoiser.images.pixel_limit import check_pixels, pixel_limit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


class Shape(Protocol):
    """One shape of a class."""

    @property
    def name(self) -> str:
        """The class."""

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """Draw the shape: (H, W) bool for an image of `size` (height, width).

        Raises
        ------
        ValueError
            The shape is damaged, or for another size.
        """


@dataclass(frozen=True)
class Segmentation:
    """Polygons or run lengths, as COCO's `segmentation`."""

    name: str
    segmentation: Any

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """See `Shape`."""
        return draw_segmentation(self.segmentation, size)


@dataclass(frozen=True)
class Runs:
    """A mask within a box, as CVAT stores it.

    Attributes
    ----------
    counts
        Pixels alternately outside and inside, outside first, row by row.
    box
        Left, top, width and height in pixels.
    """

    name: str
    counts: Sequence[int]
    box: tuple[int, int, int, int]

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """See `Shape`."""
        left, top, width, height = self.box
        inside = min(left, top) >= 0 and left + width <= size[1] and top + height <= size[0]
        if not inside or min(self.counts, default=0) < 0 or sum(self.counts) != width * height:
            msg = f"run lengths in the box {self.box}"
            raise ValueError(msg)
        is_inside = np.arange(len(self.counts)) % 2 == 1
        mask = np.zeros(size, bool)
        mask[top : top + height, left : left + width] = np.repeat(is_inside, self.counts).reshape(
            height, width
        )
        return mask


@dataclass(frozen=True)
class Brush:
    """A mask of the whole image, as Label Studio stores it: bytes for `decode_brush`."""

    name: str
    stream: list[int]

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """See `Shape`."""
        return decode_brush(self.stream, size)


@dataclass(frozen=True)
class DrawnImage:
    """An image's size (height, width) in pixels and its shapes, each over the earlier ones."""

    size: tuple[int, int]
    shapes: Sequence[Shape]


class ShapeAnnotations:
    """Annotations made of shapes; see `Annotations`.

    Parameters
    ----------
    path
        Where they are from, for messages.
    images
        By name.
    """

    knows_ignored = False
    notes: Sequence[str] = ()

    def __init__(self, path: Path, images: Mapping[str, DrawnImage]) -> None:
        names = sorted({shape.name for image in images.values() for shape in image.shapes})
        self.classes = dict(enumerate(names, start=1))
        self.colors: dict[int, str] = {}
        self.images: Collection[str] = [name for name, image in images.items() if image.shapes]
        self.empty: Collection[str] = [name for name, image in images.items() if not image.shapes]
        self._path, self._images = path, images
        self._numbers = {name: number for number, name in self.classes.items()}

    def draw(self, image: str) -> np.ndarray:
        """See `Annotations`."""
        drawn = self._images[image]
        height, width = drawn.size
        try:
            check_pixels(width, height, pixel_limit())
            labels = np.zeros(drawn.size, np.int32)
            for shape in drawn.shapes:
                labels[shape.draw(drawn.size)] = self._numbers[shape.name]
        except ImageError as error:
            msg = f"{self._path}, {image}: {error}"
            raise InputError(msg) from error
        except ValueError as error:
            msg = (
                f"{self._path} has a shape of {image} that cannot be drawn on {width}x{height} "
                f"pixels ({error}); export the file again"
            )
            raise InputError(msg) from error
        return labels
