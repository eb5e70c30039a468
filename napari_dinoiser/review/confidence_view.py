"""The model's confidence in the image under review: as a map, and its uncertain places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoiser.own_layers import insert_unselected
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
        """Hide the map, as another image comes."""
        if self._layer is not None:
            self._layer.visible = False
        self._map = None

    def toggle(self) -> None:
        """Show the map over the image, or hide it."""
        if self._layer is None or self._layer not in self._viewer.layers:
            self._add()
        elif self._layer.visible:
            self._layer.visible = False
        else:
            self._layer.data = self._map
            self._layer.visible = True

    def _add(self) -> None:
        from napari.layers import Image

        layers = self._viewer.layers
        self._layer = Image(
            self._map, name=LAYER, colormap="viridis", contrast_limits=(0, 1), opacity=0.7
        )
        insert_unselected(layers, len(layers), self._layer)

    def next_place(self) -> str:
        """Show the next uncertain place; say what it is, or that there is none."""
        place = self._tour.step()
        if place is not None:
            look_at(self._viewer, place.corners)
        return self._tour.describe(place)
