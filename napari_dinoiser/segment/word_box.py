"""A box drawn on the image, inside which alone the words compete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dinoiser.own_layers import OWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari import Viewer
    from napari.layers import Layer, Shapes

NAME = "box"
WIDTH = 2
"""Of its outline, in screen pixels."""


class WordBox(QObject):
    """Draws one rectangle in a Shapes layer of its own, and gives the tool back.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        Parent object.

    Attributes
    ----------
    layer
        The layer with the box; None if there is none.
    """

    drawn = Signal()
    """Emitted when the box is drawn."""
    changed = Signal(bool)
    """Emitted with whether there is a layer for a box, when it comes or goes."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self.layer: Shapes | None = None
        self._viewer = viewer
        self._before: Layer | None = None
        viewer.layers.events.removed.connect(self._forget)

    def toggle(self) -> None:
        """Begin to draw a box, or remove the one that is there."""
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)
            return
        self._before = self._viewer.layers.selection.active
        zoom = getattr(self._viewer, "scene", self._viewer).camera.zoom
        # since napari 0.9; without them, it could convert no layer's units any more
        units = getattr(self._viewer.dims, "units", None)
        self.layer = self._viewer.add_shapes(
            ndim=2,
            name=NAME,
            edge_width=WIDTH / zoom,
            edge_color="white",
            face_color="transparent",
            opacity=1,
            units=units and units[-2:],
            metadata={OWN: True},
        )
        self.layer.mode = "add_rectangle"
        self.layer.mouse_drag_callbacks.append(self._follow)
        self.changed.emit(True)

    def _follow(self, layer: Shapes, event: Any) -> Iterator[None]:
        yield
        while event.type == "mouse_move":
            yield
        # napari's own tool hears of the button only after us
        QTimer.singleShot(0, self._finish)

    def _finish(self) -> None:
        layer = self.layer
        if layer is None or not len(layer.data):
            return
        if self._follow in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._follow)
        layer.mode = "pan_zoom"
        if self._before in self._viewer.layers:
            self._viewer.layers.selection.active = self._before
        self.drawn.emit()

    def _forget(self, event: Any) -> None:
        if event.value is self.layer:
            self.layer = None
            self.changed.emit(False)
