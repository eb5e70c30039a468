"""Where a model is least sure of its labels: places to look at, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import napari

UNCERTAIN = 0.5
"""Confidence below which a pixel is uncertain."""
SMALLEST = 1e-4
"""Share of the image that a place must have."""
MARGIN = 1.0
"""Surroundings that are shown of a place, in its sizes."""


class Place(NamedTuple):
    """A connected area of uncertain pixels: the box around it, and how many they are."""

    rows: slice
    columns: slice
    pixels: int


def uncertain_places(confidence: np.ndarray, below: float = UNCERTAIN) -> list[Place]:
    """Find connected areas of low confidence, the largest first.

    Parameters
    ----------
    confidence
        (H, W), from 0 to 1.
    below
        Confidence below which a pixel is uncertain.

    Returns
    -------
    list of Place
        Specks of less than a ten-thousandth of the image are left out.
    """
    from scipy import ndimage  # type: ignore[import-untyped]

    parts, _ = ndimage.label(confidence < below)
    sizes = np.bincount(parts.ravel())[1:]
    boxes = ndimage.find_objects(parts)
    places = [
        Place(rows, columns, int(size)) for (rows, columns), size in zip(boxes, sizes, strict=True)
    ]
    enough = SMALLEST * confidence.size
    return sorted((p for p in places if p.pixels >= enough), key=lambda p: -p.pixels)


class PlaceTour:
    """Leads from one place of an image to the next, and begins again after the last.

    Parameters
    ----------
    places
        In the order of the tour.
    """

    def __init__(self, places: list[Place]) -> None:
        self.places = places
        self._shown = 0

    def step(self) -> Place | None:
        """Return the next place; None if there are none."""
        if not self.places:
            return None
        self._shown = self._shown % len(self.places) + 1
        return self.places[self._shown - 1]

    def __str__(self) -> str:
        return f"{self._shown} of {len(self.places)}"


def look_at(viewer: napari.Viewer, place: Place) -> None:
    """Show a place, in pixels of the image, with as much around it again."""
    sizes = [side.stop - side.start for side in (place.rows, place.columns)]
    middle = [(side.start + side.stop) / 2 for side in (place.rows, place.columns)]
    height, width = viewer.window._qt_viewer.canvas.size
    shown = [size * (1 + 2 * MARGIN) for size in sizes]
    camera = getattr(viewer, "scene", viewer).camera  # on the viewer itself before napari 0.9
    camera.center = (0, *middle)
    camera.zoom = min(height / shown[0], width / shown[1])
