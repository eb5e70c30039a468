"""The pointer over the canvas, and keys, for objects."""

from types import SimpleNamespace

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication

from napari_dinoiser.object_tool import OUTLINE


def point(viewer, qtbot, place, modifiers=("Shift",)):
    """Move the pointer, and let it rest."""
    event = SimpleNamespace(position=tuple(map(float, place)), modifiers=modifiers, buttons=())
    for call in viewer.mouse_move_callbacks:
        call(viewer, event)
    qtbot.wait(150)


def send(key, kind=QEvent.Type.KeyPress, modifiers=Qt.KeyboardModifier.ShiftModifier):
    window = QApplication.activeWindow() or QApplication.topLevelWidgets()[0]
    QApplication.sendEvent(window, QKeyEvent(kind, key, modifiers))


def type_slash(viewer, digit):
    """Press the key of a digit that types a slash with Shift, such as 7 on German keyboards."""
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    shift = Qt.KeyboardModifier.ShiftModifier
    event = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Slash, shift, digit + 9, 0, 0, "/")
    QApplication.sendEvent(canvas, event)


def outline(viewer):
    """Return the pixels of the object that is outlined, (H, W) bool; None if there is none."""
    layers = (layer for layer in viewer.layers if layer.name == OUTLINE and layer.visible)
    return next((layer.data != 0 for layer in layers), None)
