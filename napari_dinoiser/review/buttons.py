"""The buttons of a review."""

from __future__ import annotations

from typing import NamedTuple

from qtpy.QtCore import Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

_SAVES = "Corrections are saved, and a corrected image counts as accepted."


class _Button(NamedTuple):
    text: str
    key: str
    tip: str
    place: tuple[int, int, int, int]


_BUTTONS = {
    "previous": _Button("Previous", "Shift+N", f"The previous image. {_SAVES}", (0, 0, 1, 1)),
    "next": _Button("Next", "N", f"The next image. {_SAVES}", (0, 1, 1, 1)),
    "next_unchecked": _Button(
        "Next unchecked", "U", f"The next unchecked image. {_SAVES}", (1, 0, 1, 2)
    ),
    "accept": _Button(
        "Accept", "A", "Accept the mask and continue with the next image.", (2, 0, 1, 1)
    ),
    "reject": _Button("Reject", "R", "Exclude the image from exports and continue.", (2, 1, 1, 1)),
    "toggle_labels": _Button("Show labels", "T", "Show or hide the labels.", (3, 0, 1, 1)),
    "revert": _Button("Revert", "", "Restore the saved mask of this image.", (3, 1, 1, 1)),
}
_NEED_IMAGE = {"accept", "toggle_labels", "revert"}


class ReviewButtons(QWidget):
    """Buttons that show their keys."""

    pressed = Signal(str)
    """Emitted with the name of a button."""

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        self._buttons: dict[str, QPushButton] = {}
        for name, (text, key, tip, place) in _BUTTONS.items():
            shown = QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
            button = QPushButton(f"{text} ({shown})" if key else text)
            button.setObjectName(name)
            button.setToolTip(f"{tip} Key: {shown}" if key else tip)
            button.clicked.connect(lambda _=False, name=name: self.pressed.emit(name))
            grid.addWidget(button, *place)
            self._buttons[name] = button

    @property
    def keys(self) -> dict[str, QPushButton]:
        """The button for each key."""
        return {entry.key: self._buttons[name] for name, entry in _BUTTONS.items() if entry.key}

    def enable(self, *, any_image: bool, readable: bool) -> None:
        """Enable the buttons that make sense: some need an image that can be read."""
        for name, button in self._buttons.items():
            button.setEnabled(readable if name in _NEED_IMAGE else any_image)
