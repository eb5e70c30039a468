"""Where a model is least sure of its labels: places to look at, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import napari
    from numpy.typing import ArrayLike

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

    @property
    def corners(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Its outer edges: (top, left) and (bottom, right), in pixels of the image."""
        # pixels have their centres at whole numbers
        return (
            (self.rows.start - 0.5, self.columns.start - 0.5),
            (self.rows.stop - 0.5, self.columns.stop - 0.5),
        )


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

    def describe(self, place: Place | None) -> str:
        """Say in a sentence what was just shown."""
        if place is None:
            return "There is no uncertain place in this image."
        number = f"{self._shown} of {len(self.places)}"
        return f"Uncertain place of {place.pixels:,} pixels, {number}."


def look_at(viewer: napari.Viewer, corners: ArrayLike) -> None:
    """Show a rectangle with as much around it again.

    Parameters
    ----------
    viewer
        The viewer.
    corners
        (2, axes): two opposite corners in world coordinates, with rows and columns last.
    """
    corners = np.asarray(corners)[:, -2:]
    sizes = np.abs(corners[1] - corners[0]) * (1 + 2 * MARGIN)
    camera = getattr(viewer, "scene", viewer).camera  # on the viewer itself before napari 0.9
    camera.center = (0, *corners.mean(0))
    camera.zoom = min(np.array(viewer.window._qt_viewer.canvas.size) / sizes)
