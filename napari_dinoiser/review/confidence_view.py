"""The model's confidence in the image under review: as a map, and its uncertain places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoiser.uncertain_places import PlaceTour, look_at, uncertain_places

if TYPE_CHECKING:
    import napari
    import numpy as np
    from napari.layers import Image

LAYER = "confidence"


class ConfidenceView:
    """Shows the confidence of one image at a time.

    Parameters
    ----------
    viewer
        The viewer that shows the image.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._map: np.ndarray | None = None
        self._tour = PlaceTour([])
        self._layer: Image | None = None

    @property
    def known(self) -> bool:
        """Whether the confidence of the image is here."""
        return self._map is not None

    def take(self, confidence: np.ndarray) -> None:
        """Take the confidence of the image, (H, W) from 0 to 1."""
        self._map = confidence
        self._tour = PlaceTour(uncertain_places(confidence))

    def forget(self) -> None:
        """Remove the map, as another image comes."""
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._map = self._layer = None

    def toggle(self) -> None:
        """Show the map over the image, or remove it."""
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
            return
        layers = self._viewer.layers
        active = layers.selection.active
        self._layer = self._viewer.add_image(
            self._map, name=LAYER, colormap="viridis", contrast_limits=(0, 1), opacity=0.7
        )
        layers.selection.active = active

    def next_place(self) -> str:
        """Show the next uncertain place; say what it is, or that there is none."""
        place = self._tour.step()
        if place is not None:
            look_at(self._viewer, place.corners)
        return self._tour.describe(place)
