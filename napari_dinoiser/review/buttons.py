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
    "previous": _Button("◀", "Shift+N", f"The previous image. {_SAVES}", (0, 0, 1, 1)),
    "accept": _Button(
        "Accept", "A", "Accept the mask and continue with the next image.", (0, 1, 1, 2)
    ),
    "reject": _Button("Reject", "R", "Exclude the image from exports and continue.", (0, 3, 1, 2)),
    "next": _Button("▶", "N", f"The next image. {_SAVES}", (0, 5, 1, 1)),
    "next_unchecked": _Button(
        "Next unchecked", "U", f"The next unchecked image. {_SAVES}", (1, 0, 1, 2)
    ),
    "toggle_labels": _Button("Labels", "T", "Show or hide the labels.", (1, 2, 1, 2)),
    "revert": _Button("Revert", "", "Restore the saved mask of this image.", (1, 4, 1, 2)),
}
_DECISIONS = {"accept": "#2f7d4f", "reject": "#a33b3b"}
"""Colours of the large buttons."""
_ARROWS = {"previous", "next"}
_LARGE = 44
"""Height of the large buttons and width of the arrows, in screen pixels."""
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
            button = QPushButton(f"{text} ({shown})" if key and name not in _ARROWS else text)
            button.setObjectName(name)
            button.setToolTip(f"{tip} Key: {shown}" if key else tip)
            button.clicked.connect(lambda _=False, name=name: self.pressed.emit(name))
            grid.addWidget(button, *place)
            self._buttons[name] = button
        self._enlarge()
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(4, 1)

    def _enlarge(self) -> None:
        """Make the decisions easy to hit, with small arrows beside them."""
        for name, color in _DECISIONS.items():
            self._buttons[name].setFixedHeight(_LARGE)
            self._buttons[name].setStyleSheet(
                f"QPushButton:enabled {{ background: {color}; color: white; font-weight: bold }}"
            )
        for name in _ARROWS:
            self._buttons[name].setFixedSize(_LARGE, _LARGE)

    @property
    def keys(self) -> dict[str, QPushButton]:
        """The button for each key."""
        return {entry.key: self._buttons[name] for name, entry in _BUTTONS.items() if entry.key}

    def enable(self, *, any_image: bool, readable: bool) -> None:
        """Enable the buttons that make sense: some need an image that can be read."""
        for name, button in self._buttons.items():
            button.setEnabled(readable if name in _NEED_IMAGE else any_image)
