"""The list of classes to paint with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from dinoiser.prompts.palette import IGNORE_COLOR

if TYPE_CHECKING:
    from dinoiser.prompts import PromptSet

SWATCH = 14
"""Side of the colour swatches in pixels."""
LEAST_HEIGHT = 90
"""Height in screen pixels that the list asks for; it takes what room there is."""
FIGURE_SPACE = "\u2007"
"""As wide as a digit."""
NAME = Qt.ItemDataRole.UserRole + 1
"""Where an item has the name of its class; its label is at `UserRole`."""


class ClassList(QListWidget):
    """Classes with colour, name and the digit that chooses each.

    0 is the background, or "no class" in jobs without one. The list never takes
    the focus, so that keys still work after a click.
    """

    label_chosen = Signal(int)
    """Emitted with the label of a clicked class."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("classes")
        self.setToolTip("Click a class, or press its digit, to paint with it")
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setIconSize(QSize(SWATCH, SWATCH))
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.itemClicked.connect(
            lambda item: self.label_chosen.emit(item.data(Qt.ItemDataRole.UserRole))
        )

    def set_classes(self, prompts: PromptSet) -> None:
        """List the classes of a prompt set, with 0 first and ignored pixels last."""
        self.clear()
        names = {0: "no class"} | {item.id: item.name for item in prompts.classes}
        colors = {item.id: item.color for item in prompts.classes} | {0: None}
        ignore = prompts.ignore
        colors[ignore] = IGNORE_COLOR
        for row, (label, name) in enumerate({**names, ignore: "ignore"}.items()):
            digit = str(row) if row < 10 and label != ignore else FIGURE_SPACE
            item = QListWidgetItem(_swatch(colors[label]), f"{digit}  {name}")
            item.setData(Qt.ItemDataRole.UserRole, label)
            item.setData(NAME, name)
            item.setToolTip(f"{name}: label {label}")
            self.addItem(item)

    def sizeHint(self) -> QSize:
        """Ask for little, so that what is below stays in view on small screens."""
        return QSize(super().sizeHint().width(), LEAST_HEIGHT)

    def label_of_digit(self, digit: int | None) -> int | None:
        """Return the label for a digit; None if there are fewer classes."""
        if digit is None or digit >= self.count() - 1:
            return None
        return self.item(digit).data(Qt.ItemDataRole.UserRole)

    def mark(self, label: int) -> None:
        """Highlight the class to paint with, if it is in the list."""
        rows = (
            row
            for row in range(self.count())
            if self.item(row).data(Qt.ItemDataRole.UserRole) == label
        )
        self.setCurrentRow(next(rows, -1))

    def marked(self) -> int | None:
        """Return the label of the highlighted class; None if there is none."""
        item = self.currentItem()
        return None if item is None else item.data(Qt.ItemDataRole.UserRole)

    def narrow(self, letters: str) -> None:
        """List only classes whose names contain some letters, and highlight the best match."""
        ranks = [_rank(self.item(row).data(NAME), letters) for row in range(self.count())]
        for row, rank in enumerate(ranks):
            self.item(row).setHidden(rank is None)
        found = [(rank, row) for row, rank in enumerate(ranks) if rank is not None]
        self.setCurrentRow(min(found)[1] if found else -1)

    def step(self, by: int) -> None:
        """Highlight the next class that is listed, or the previous one (-1)."""
        row = self.currentRow() + by
        while 0 <= row < self.count() and self.item(row).isHidden():
            row += by
        if 0 <= row < self.count():
            self.setCurrentRow(row)


def _rank(name: str, letters: str) -> int | None:
    """Return how well a name matches letters, 0 best; None if it does not contain them."""
    name, letters = name.casefold(), letters.strip().casefold()
    if name.startswith(letters):
        return 0
    if any(word.startswith(letters) for word in name.split()):
        return 1
    return 2 if letters in name else None


def _swatch(color: str | None) -> QIcon:
    """Draw a square of a colour, or an empty one if transparent."""
    pixmap = QPixmap(SWATCH, SWATCH)
    pixmap.fill(QColor(color) if color else Qt.GlobalColor.transparent)
    if not color:
        painter = QPainter(pixmap)
        painter.setPen(QColor("gray"))
        painter.drawRect(0, 0, SWATCH - 1, SWATCH - 1)
        painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # else it is tinted like the row
    return icon
