"""The Advanced section: which part of an image is labelled, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from dinoiser.segment.settings import REFINEMENTS, SegmentSettings
from napari_dinoiser.own_layers import when_renamed

if TYPE_CHECKING:
    from napari import Viewer

DEVICES = ("auto", "cpu", "cuda", "mps")
WHOLE_IMAGE, VISIBLE = "whole image", "visible part"


class AdvancedSettings(QWidget):
    """Settings that most users never need.

    Parameters
    ----------
    viewer
        The viewer whose Shapes layers are offered as regions.
    parent
        Parent widget.
    """

    ignore_below_changed = Signal(float)
    """Emitted with the confidence in [0, 1) below which pixels are ignored."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._create_children()
        self._fill_regions()
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._fill_regions)
        when_renamed(viewer.layers, self._fill_regions)
        self._ignore.valueChanged.connect(self.ignore_below_changed)
        self._looking.currentIndexChanged.connect(self._enable_sizes)

    def device(self) -> str:
        """Return the name of the device, see `dinoiser.load_model`."""
        return self._device.currentText()

    def settings(self) -> SegmentSettings:
        """Return how images are scaled, cut into windows and labelled."""
        whole = self._looking.currentIndex() == 1
        return SegmentSettings(
            short_side=None if whole else self._short_side.value() or None,
            whole=whole,
            antialias=self._antialias.isChecked(),
            refine=self._refine.currentText(),
        )

    def all_planes(self) -> bool:
        """Whether to label all slices of a stack."""
        return self._planes.currentIndex() == 1

    def region(self) -> str | Shapes:
        """Return `WHOLE_IMAGE`, `VISIBLE`, or the layer with a rectangle."""
        return self._region.currentData()

    def set_region(self, region: str | Shapes) -> None:
        """Choose a region."""
        self._region.setCurrentIndex(self._region.findData(region))

    def set_ignore_below(self, confidence: float) -> None:
        """Show the threshold of a prompt file."""
        self._ignore.setValue(confidence)

    def _create_children(self) -> None:
        self._region, self._planes = QComboBox(), QComboBox()
        self._looking, self._refine, self._device = QComboBox(), QComboBox(), QComboBox()
        self._planes.addItems(["current slice", "all slices"])
        self._looking.addItems(["in windows", "as a whole"])
        self._refine.addItems(REFINEMENTS)
        self._device.addItems(DEVICES)
        self._antialias = QCheckBox("smooth when shrinking")
        self._antialias.setChecked(True)
        self._short_side, self._ignore = QSpinBox(), QDoubleSpinBox()
        self._short_side.setRange(0, 16384)
        self._short_side.setSingleStep(64)
        self._short_side.setSpecialValueText("the model's")
        self._short_side.setSuffix(" px")
        self._ignore.setRange(0, 0.99)
        self._ignore.setSingleStep(0.05)
        rows: tuple[tuple[str, QWidget, str, str], ...] = (
            ("Region", self._region, "region", "Label the whole image (very large ones "
             "beginning with the part in view), or a part, such as a rectangle in a Shapes layer"),
            ("Stacks", self._planes, "planes", "Label the slice shown, or all slices"),
            ("Ignore below", self._ignore, "ignore_below", "Pixels with a lower confidence become "
             "255 and are ignored in training"),
            ("Edges", self._refine, "refine", "edges: labels follow the edges of the image; "
             "pamr: the papers' refinement, slow; none: the pixels of the paper"),
            ("Look", self._looking, "looking", "in windows: as in the paper, for images of any "
             "size; as a whole: in one pass at the image's own size"),
            ("Short side", self._short_side, "short_side", "The image is resized to this before "
             "the model sees it; larger values find smaller things, but take longer"),
            ("Antialias", self._antialias, "antialias", "Smooth the image when it is shrunk; the "
             "published code does not, so clear this to reproduce its labels"),
            ("Device", self._device, "device", "auto uses a GPU if there is one"),
        )  # fmt: skip
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        for label, child, name, tooltip in rows:
            child.setObjectName(name)
            child.setToolTip(tooltip)
            form.addRow(label, child)
            form.labelForField(child).setToolTip(tooltip)

    def _enable_sizes(self, looking: int) -> None:
        """Disable sizes if images are segmented as a whole, at their own size."""
        for child in (self._short_side, self._antialias):
            child.setEnabled(looking == 0)

    def _fill_regions(self, event: Any = None) -> None:
        chosen = self._region.currentData()
        layers = [layer for layer in self._viewer.layers if isinstance(layer, Shapes)]
        self._region.clear()
        for item in (WHOLE_IMAGE, VISIBLE):
            self._region.addItem(item, item)
        for layer in layers:
            self._region.addItem(f"rectangle in {layer.name}", layer)
        known = [WHOLE_IMAGE, VISIBLE, *layers]
        self._region.setCurrentIndex(known.index(chosen) if chosen in known else 0)
