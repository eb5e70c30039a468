"""What comes after the last image: how the review went, and what to do with the masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_dinoiser.review.named import named

if TYPE_CHECKING:
    from napari_dinoiser.review.review_session import Counts

_ACTIONS = {
    "coco": ("Export COCO", "Write annotations.json from the checked masks"),
    "yolo": ("Export YOLO", "Write data.yaml and a text file for each image"),
    "report": ("Report", "Write report.html anew from the checked masks, and open it"),
    "masks": ("Show masks", "Open the folder of the masks"),
    "another": ("Another job …", "Choose the output folder of another job to review"),
    "back": ("Back to the images", "Go through the images again"),
}


class EndPage(QWidget):
    """Says how many images are checked, with buttons for what comes next."""

    wanted = Signal(str)
    """Emitted with the name of a button."""

    def __init__(self) -> None:
        super().__init__()
        self._text = named(QLabel(), "end", "How the review went")
        self._text.setWordWrap(True)
        grid = QGridLayout()
        for number, (name, (text, tip)) in enumerate(_ACTIONS.items()):
            button = named(QPushButton(text), f"end_{name}", tip)
            button.clicked.connect(lambda _=False, name=name: self.wanted.emit(name))
            grid.addWidget(button, *divmod(number, 2))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addLayout(grid)
        self.hide()

    def show_counts(self, counts: Counts) -> None:
        """Show how the review went."""
        self._text.setText(
            f"<b>All done.</b> {counts.checked:,} checked, {counts.corrected:,} corrected, "
            f"{counts.rejected:,} rejected."
        )
