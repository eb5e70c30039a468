"""The image picker: choose the layer to label, and its channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_dinoiser.own_layers import OWN, when_renamed
from napari_dinoiser.segment.image_layers import channel_axes, source_of_layer

if TYPE_CHECKING:
    from napari import Viewer

    from napari_dinoiser.segment.image_source import ImageSource

COLORS = ("red", "green", "blue")


class ImagePicker(QWidget):
    """Choose an image layer of a viewer.

    It follows the selection in the layer list.

    Parameters
    ----------
    viewer
        The viewer whose layers are offered.
    parent
        Parent widget.
    """

    image_changed = Signal()
    """Emitted when another layer is chosen."""
    source_gone = Signal(object)
    """Emitted with an `ImageSource` no longer in use: its layer was closed or changed."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._sources: dict[Image, ImageSource] = {}
        self._watched: Image | None = None
        self._create_children()
        self._lay_out()
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._fill)
        when_renamed(viewer.layers, self._fill)
        events.removed.connect(self._drop_removed)
        viewer.layers.selection.events.active.connect(self._follow)
        self._combo.currentIndexChanged.connect(self._on_layer)
        self._axis.currentIndexChanged.connect(self._on_channels)
        for spin in self._spins:
            spin.valueChanged.connect(self._on_channels)
        self._fill()
        self._on_layer()

    def layer(self) -> Image | None:
        """Return the chosen layer; None if there is none."""
        return self._combo.currentData()

    def channel_axis(self) -> int | None:
        """Return the axis of the layer that contains channels."""
        return self._axis.currentData()

    def source(self) -> ImageSource | None:
        """Return the layer's source; the same object until the layer changes."""
        layer = self.layer()
        if layer is None:
            return None
        known = self._sources.get(layer)
        source = source_of_layer(layer, self.channel_axis(), self._channels())
        # the same object, so that the encoder recognises what it has encoded
        if known is not None and known.shows_the_same_as(source):
            return known
        self._drop_source(layer)
        self._sources[layer] = source
        return source

    def _channels(self) -> tuple[int, ...]:
        values = tuple(spin.value() for spin in self._spins)
        # three equal channels are one grey image
        return values[:1] if len(set(values)) == 1 else values

    def _create_children(self) -> None:
        self._combo, self._axis = QComboBox(), QComboBox()
        self._spins = [QSpinBox() for _ in COLORS]
        self._chooser = QWidget()
        children: list[tuple[QWidget, str, str]] = [
            (self._combo, "image_picker", "The image layer to label"),
            (self._axis, "channel_axis", "The axis of the layer that contains channels"),
        ]
        for spin, color in zip(self._spins, COLORS, strict=True):
            tooltip = f"The channel that the model sees as {color}; three equal channels give grey"
            spin.setPrefix(f"{color[0].upper()} ")
            children.append((spin, f"{color}_channel", tooltip))
        for child, name, tooltip in children:
            child.setObjectName(name)
            child.setToolTip(tooltip)
        self._combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._combo.setMinimumContentsLength(12)

    def _lay_out(self) -> None:
        lines = QVBoxLayout(self._chooser)
        lines.setContentsMargins(0, 0, 0, 0)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(QLabel("Channels"))
        first.addWidget(self._axis, 1)
        for spin in self._spins:
            spin.setMinimumWidth(60)
            second.addWidget(spin, 1)
        for line in (first, second):
            lines.addLayout(line)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        layout.addWidget(self._chooser)

    def _fill(self, event: Any = None) -> None:
        chosen = self.layer()
        offered = [
            layer
            for layer in reversed(self._viewer.layers)
            if isinstance(layer, Image) and OWN not in layer.metadata
        ]
        # refilled silently; a real change of the chosen layer is emitted at the end
        self._combo.blockSignals(True)
        self._combo.clear()
        for layer in offered:
            self._combo.addItem(layer.name, layer)
        if chosen in offered:
            self._combo.setCurrentIndex(offered.index(chosen))
        self._combo.blockSignals(False)
        if self.layer() is not chosen or self._watched is not chosen:
            self._on_layer()

    def choose(self, layer: Any) -> None:
        """Choose a layer; nothing happens if it is none of those that are offered."""
        for index in range(self._combo.count()):
            if self._combo.itemData(index) is layer:
                self._combo.setCurrentIndex(index)

    def _follow(self, event: Any) -> None:
        self.choose(event.value)

    def _on_layer(self, *_: Any) -> None:
        self._watch(self.layer())
        self._axis.blockSignals(True)
        self._axis.clear()
        axes = channel_axes(self.layer()) if self.layer() else {}
        self._axis.addItem("none", None)
        for axis, count in axes.items():
            self._axis.addItem(f"axis {axis} ({count})", axis)
        self._axis.blockSignals(False)
        self._chooser.setVisible(bool(axes))
        self._on_channels()
        self.image_changed.emit()

    def _on_channels(self, *_: Any) -> None:
        axis = self.channel_axis()
        count = channel_axes(self.layer())[axis] if axis is not None else 0
        for place, spin in enumerate(self._spins):
            spin.setVisible(axis is not None)
            if axis is not None and spin.maximum() != count - 1:
                spin.blockSignals(True)
                spin.setRange(0, count - 1)
                spin.setValue(min(place, count - 1))
                spin.blockSignals(False)

    def _watch(self, layer: Image | None) -> None:
        if self._watched is not None:
            self._watched.events.data.disconnect(self._drop_watched)
        self._watched = layer
        if layer is not None:
            layer.events.data.connect(self._drop_watched)

    def _drop_watched(self, event: Any = None) -> None:
        self._drop_source(self._watched)

    def _drop_removed(self, event: Any) -> None:
        self._drop_source(event.value)

    def _drop_source(self, layer: Any) -> None:
        source = self._sources.pop(layer, None)
        if source is not None:
            self.source_gone.emit(source)
