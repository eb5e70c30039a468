"""Choose what is shown over the image: labels, or one of the maps with its scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtGui import QColor, QLinearGradient, QPainter
from qtpy.QtWidgets import QHBoxLayout, QLabel, QRadioButton, QVBoxLayout, QWidget

from napari_dinoiser.segment.map_layer import COLORMAPS, CONFIDENCE, HEAT_MAP

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

CHOICES = (
    (None, "show_labels", "Labels", "Show the labels as areas"),
    (CONFIDENCE, "show_confidence", "Confidence", "Show the model's confidence in each pixel"),
    (HEAT_MAP, "show_heatmap", "Heat map", "Show where the selected class could be"),
)


class MapChoice(QWidget):
    """Three choices, and the colours of the map that is chosen."""

    changed = Signal()
    """Emitted when another is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self._scale = _Scale()
        self._buttons = {}
        line = QHBoxLayout()
        line.addWidget(QLabel("Show"))
        for kind, name, text, tooltip in CHOICES:
            button = self._buttons[kind] = QRadioButton(text)
            button.setObjectName(name)
            button.setToolTip(tooltip)
            button.toggled.connect(self._choose)
            line.addWidget(button)
        line.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(line)
        layout.addWidget(self._scale)
        self._buttons[None].setChecked(True)

    def map(self) -> str | None:
        """Return which map is chosen: `CONFIDENCE`, `HEAT_MAP`, or None for the labels."""
        return next(kind for kind, button in self._buttons.items() if button.isChecked())

    def _choose(self, chosen: bool) -> None:
        if chosen:  # the other button tells of the same change
            self._scale.show_map(self.map())
            self.changed.emit()


class _Scale(QWidget):
    """The colours of a map, from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = _Bar()
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        for child in (QLabel("0"), self._bar, QLabel("1")):
            line.addWidget(child, int(child is self._bar))

    def show_map(self, kind: str | None) -> None:
        """Show the colours of a map; None shows nothing."""
        if kind is not None:
            self._bar.colormap = COLORMAPS[kind]
            self._bar.update()
        self.setVisible(kind is not None)


class _Bar(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(10)
        self.colormap = COLORMAPS[CONFIDENCE]

    def paintEvent(self, event: QPaintEvent) -> None:
        from napari.utils.colormaps import ensure_colormap

        gradient = QLinearGradient(0, 0, self.width(), 0)
        places = np.linspace(0, 1, 17)
        colors: Any = ensure_colormap(self.colormap).map(places)
        for place, color in zip(places, colors, strict=True):
            gradient.setColorAt(float(place), QColor.fromRgbF(*map(float, color)))
        painter = QPainter(self)
        painter.fillRect(self.rect(), gradient)
        painter.end()
