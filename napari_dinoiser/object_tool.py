"""One key for an object: hold Shift over it, see its outline, and press a class's digit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_dinoiser.digit_keys import digit_of
from napari_dinoiser.in_view import in_pixels
from napari_dinoiser.key_bindings import KeyBindings
from napari_dinoiser.label_layers import TRANSPARENT
from napari_dinoiser.own_layers import OWN, insert_unselected, place_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari import Viewer
    from napari.layers import Labels
    from qtpy.QtWidgets import QWidget

OUTLINE = "object under the pointer"
REACHES = tuple(np.round(np.linspace(0.1, 0.9, 17), 2).tolist())
"""How dissimilar the parts of an object may be, by the steps of the wheel; see `object_at`."""
USUAL = REACHES.index(0.5)
NOTHING = dict.fromkeys((None, 0), TRANSPARENT)
PAUSE = 30
"""Milliseconds that the pointer rests before an outline is drawn."""
HELD = 300
"""The same where it rested already, as Shift may be for another key, such as Shift+N."""


@dataclass(frozen=True)
class Target:
    """Labels that objects can be given.

    Attributes
    ----------
    layer
        Their layer.
    find
        Returns the object (H, W) bool at a pixel, given how dissimilar its
        parts may be; None where the image is not encoded.
    give
        Gives the pixels of a plane that a mask (H, W) names a label.
    """

    layer: Labels
    find: Callable[[tuple[int, ...], float], np.ndarray | None]
    give: Callable[[tuple[int, ...], np.ndarray, int], None]


class ObjectTool(QObject):
    """Shows the object under the pointer while Shift is held, and gives it a class.

    Parameters
    ----------
    viewer
        The viewer.
    target
        Returns the labels that are being edited; None if there are none.
    label_of
        Returns the label of a digit's class; None if there is none.
    parent
        The tab, which it lives as long as.
    """

    def __init__(
        self,
        viewer: Viewer,
        target: Callable[[], Target | None],
        label_of: Callable[[int | None], int | None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._label_of = label_of
        self._viewer = viewer
        self._target = target
        self._layer: Labels | None = None
        self._covered: Labels | None = None  # what the layer lies on
        self._shown: tuple[Target, tuple[int, ...], np.ndarray] | None = None
        self._position: tuple[float, ...] = ()
        self._pointing = False
        self._step = USUAL
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.timeout.connect(self._draw)
        viewer.layers.events.removed.connect(self._forget)
        # the pointer may rest already, so that no move tells of Shift
        self._keys = KeyBindings({"Shift": self._point})
        self._keys.add(viewer)

    def start(self) -> None:
        """Follow the pointer."""
        self.stop()
        self._viewer.mouse_move_callbacks.append(self._follow)
        self._viewer.mouse_wheel_callbacks.append(self._resize)
        self._keys.bind()

    def stop(self) -> None:
        """Leave the pointer alone, and hide the outline."""
        self.hide()
        self._keys.release()
        for callbacks, own in (
            (self._viewer.mouse_move_callbacks, self._follow),
            (self._viewer.mouse_wheel_callbacks, self._resize),
        ):
            if own in callbacks:
                callbacks.remove(own)

    def give(self, label: int) -> None:
        """Give the outlined object a label."""
        if self._rest.isActive():  # the outline has not caught up with the pointer
            self._rest.stop()
            self._draw()
        if self._shown is not None:
            target, plane, mask = self._shown
            target.give(plane, mask, label)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Use digits while Shift is held over an object, wherever the focus is."""
        found = self._shown is not None or self._rest.isActive()
        if event.type() == QEvent.Type.KeyPress and found:
            label = self._label_of(digit_of(event))
            if label is not None:
                self.give(label)
                return True
        if event.type() == QEvent.Type.KeyRelease and event.key() == Qt.Key.Key_Shift:
            self.hide()
        return False

    def look_again(self) -> None:
        """Outline the object at the pointer, which could not be found before."""
        if self._pointing and not self._rest.isActive():
            self._draw()

    def hide(self) -> None:
        """Hide the outline, and stop waiting for digits."""
        QApplication.instance().removeEventFilter(self)
        self._pointing = False
        self._rest.stop()
        self._step = USUAL
        self._clear()

    def _clear(self) -> None:
        """Hide the outline; its layer stays, as napari takes long to add one and to remove it."""
        if self._layer is not None:
            if self._shown is not None:
                self._layer.data[self._shown[1]] = 0
            self._layer.visible = False
        self._shown = None

    def _follow(self, viewer: Viewer, event: Any) -> None:
        if "Shift" not in event.modifiers or event.buttons:
            if self._pointing:
                self.hide()
            return
        self._begin(event.position, PAUSE)

    def _point(self) -> None:
        if self._viewer.mouse_over_canvas:
            self._begin(self._viewer.cursor.position, HELD)

    def _begin(self, position: Sequence[float], pause: int) -> None:
        """Look for the object at a position of the pointer after it has rested there."""
        self._position = tuple(position)
        self._pointing = True
        self._rest.start(pause)
        QApplication.instance().installEventFilter(self)  # moves it if it is there already

    def _resize(self, viewer: Viewer, event: Any) -> None:
        if self._shown is None or "Shift" not in event.modifiers:
            return
        # some systems turn the wheel by its other axis while Shift is held
        turned = int(np.sign(sum(event.delta)))
        self._step = min(max(self._step + turned, 0), len(REACHES) - 1)
        self._draw()
        event.handled = True

    def _draw(self) -> None:
        """Outline the object at the pointer."""
        target = self._target()
        if target is None:
            return
        layer = target.layer
        data = in_pixels(self._viewer.dims, layer, self._position)
        place = tuple(round(float(value)) for value in data)
        inside = all(0 <= at < length for at, length in zip(place, layer.data.shape, strict=True))
        mask = target.find(place, REACHES[self._step]) if inside else None
        if mask is None:
            self._clear()
            return
        self._show(target, place[:-2], mask)
        self._shown = target, place[:-2], mask

    def _show(self, target: Target, plane: tuple[int, ...], mask: np.ndarray) -> None:
        layer = self._layer_over(target.layer)
        if self._shown is not None:
            layer.data[self._shown[1]] = 0  # the plane that it was in
        layer.data[plane] = mask
        if layer.visible:
            layer.refresh(extent=False)
        else:
            layer.visible = True

    def _layer_over(self, labels: Labels) -> Labels:
        """Return the outline's layer, as large as these labels and above all other layers."""
        layers, layer = self._viewer.layers, self._layer
        if layer is not None and self._covered is not labels:
            layers.remove(layer)  # which also calls _forget
            layer = None
        if layer is None:
            layer = self._layer = self._add(labels)
            self._covered = labels
        elif layer.data.shape != labels.data.shape:  # another image is under review
            layer.data, self._shown = np.zeros(labels.data.shape, np.uint8), None
        if layers[-1] is not layer:
            layers.move(layers.index(layer), len(layers))
        return layer

    def _add(self, labels: Labels) -> Labels:
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        layer = Labels(
            np.zeros(labels.data.shape, np.uint8),
            name=OUTLINE,
            colormap=DirectLabelColormap(
                color_dict={None: TRANSPARENT, 0: TRANSPARENT, 1: "white"}
            ),
            opacity=1,
            visible=False,
            metadata={OWN: True},
            **place_labels(labels),
        )
        layer.contour = 2
        insert_unselected(self._viewer.layers, len(self._viewer.layers), layer)
        return layer

    def _forget(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer = self._covered = self._shown = None
        elif event.value is self._covered:
            self._clear()
            self._covered = None
