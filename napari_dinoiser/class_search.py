"""Find a class by letters of its name, without leaving the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QPoint, Qt, Signal
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QFrame, QLineEdit, QVBoxLayout, QWidget

from napari_dinoiser.class_list import ClassList

if TYPE_CHECKING:
    from dinoiser.prompts import PromptSet

SIZE = 240, 280
"""Width and height in screen pixels."""
_STEPS = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}


class ClassSearch(QFrame):
    """A small window at the pointer: letters narrow the classes down, Enter takes one.

    Escape, or a click elsewhere, closes it.

    Parameters
    ----------
    parent
        The tab that it belongs to.
    """

    label_chosen = Signal(int)
    """Emitted with the label of the class that was taken."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setObjectName("class_search")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._letters, self._classes = QLineEdit(), ClassList()
        self._letters.setObjectName("letters")
        self._letters.setPlaceholderText("Letters of a class")
        self._letters.textChanged.connect(self._classes.narrow)
        self._letters.returnPressed.connect(self._take)
        self._letters.installEventFilter(self)
        self._classes.label_chosen.connect(self._take)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self._letters)
        layout.addWidget(self._classes)

    def ask(self, prompts: PromptSet) -> None:
        """Show the classes at the pointer, and wait for letters."""
        self._classes.set_classes(prompts)
        self._letters.clear()
        self._classes.narrow("")
        self.resize(*SIZE)
        self.move(self._place())
        self.show()
        self._letters.setFocus()

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Move in the list while the letters have the focus."""
        if event.type() == QEvent.Type.KeyPress and event.key() in _STEPS:
            self._classes.step(_STEPS[event.key()])
            return True
        return super().eventFilter(watched, event)

    def _place(self) -> QPoint:
        """Return the pointer's place, but so that all of this window is on the screen."""
        screen = self.screen().availableGeometry()
        corner = QCursor.pos()
        most = screen.bottomRight() - QPoint(*SIZE)
        return QPoint(
            max(screen.left(), min(corner.x(), most.x())),
            max(screen.top(), min(corner.y(), most.y())),
        )

    def _take(self, label: int | None = None) -> None:
        label = self._classes.marked() if label is None else label
        if label is not None:
            self.hide()
            self.label_chosen.emit(label)
