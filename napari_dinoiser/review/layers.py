"""The layers of the image under review: what is shown, and keys that work on both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoiser.key_bindings import KeyBindings
from napari_dinoiser.label_keys import paint_with
from napari_dinoiser.label_layers import style_labels
from napari_dinoiser.own_layers import PHOTO, insert_unselected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari
    from napari.layers import Image, Labels, Layer

    from dinoiser.prompts import PromptSet
    from napari_dinoiser.review.review_session import OpenImage

PIXEL = np.zeros((1, 1), np.uint8)
"""What layers hold before the first image."""


class ReviewLayers:
    """One image layer and one labels layer that show one image after another.

    While a person reviews, all other layers are hidden; then they come back.

    Parameters
    ----------
    viewer
        The viewer with the layers.
    keys
        Actions of keys while the canvas has the focus.
    on_label
        Called with the label to paint with, when it changes or an image is
        shown.

    Attributes
    ----------
    image, labels
        The layers; None before the first image.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        keys: Mapping[str, Callable[[], Any]],
        on_label: Callable[[int], None],
    ) -> None:
        self._viewer = viewer
        self._keys = KeyBindings(keys)
        self._keys.add(viewer)
        self._on_label = on_label
        self._hidden: list[Layer] | None = None
        self._held: str | None = None
        self.image: Image | None = None
        self.labels: Labels | None = None

    def add_missing(self, prompts: PromptSet) -> bool:
        """Add one layer that is missing, hidden; return False if none is.

        napari takes a tenth of a second for it, for which its window stands still.
        """
        if self.labels is None or self.labels not in self._viewer.layers:
            self._add_labels(prompts)
        elif self.image is None or self.image not in self._viewer.layers:
            self._add_image()
        else:
            return False
        return True

    def take_up(self) -> None:
        """Select the labels, so that napari's tools work on them."""
        self._viewer.layers.selection.active = self.labels

    def show(self, opened: OpenImage, prompts: PromptSet) -> None:
        """Show an image and its labels; layers that were removed are added again."""
        if self.add_missing(prompts):
            self.add_missing(prompts)  # there are two
            self.take_up()
        image, labels = self.image, self.labels
        assert image is not None
        assert labels is not None
        self.show_labels(opened.labels)
        image.metadata = {**image.metadata, PHOTO: opened.labelled.image}
        image.data = opened.image
        image.name = opened.labelled.image
        labels.name = f"{opened.labelled.image} labels"
        self._set_visible(True)
        self._look_at(image)
        self._viewer.update_status_from_cursor()  # it names the layer as it was called before
        self._on_label(labels.selected_label)

    def _look_at(self, image: Image) -> None:
        """Fit an image to the canvas, however large the hidden layers are."""
        try:
            self._viewer.reset_view(layers=[image])
        except TypeError:  # before napari 0.9, it looks at all layers
            self._viewer.reset_view()

    def show_labels(self, labels: np.ndarray) -> None:
        """Show other labels and clear the undo history."""
        if (layer := self.labels) is None:
            return
        mode = layer.mode
        layer.editable = False  # makes napari clear its undo history
        layer.data = labels
        layer.editable = True
        layer.mode = mode

    def style(self, prompts: PromptSet) -> None:
        """Use the names and colours of another job's classes."""
        if self.labels is not None:
            for name, value in style_labels(prompts).items():
                setattr(self.labels, name, value)

    def hide(self) -> None:
        """Hide both layers, as there is no image to show."""
        self._set_visible(False)

    def hold(self) -> None:
        """Let nobody paint while labels are being saved."""
        if self.labels is not None:
            self._held, self.labels.mode = self.labels.mode, "pan_zoom"

    def let_go(self) -> None:
        """Give the tool back that was in the hand."""
        if self.labels is not None and self._held is not None:
            self._held, self.labels.mode = None, self._held

    def toggle_labels(self) -> None:
        """Show or hide the labels."""
        if self.labels is not None:
            self.labels.visible = not self.labels.visible

    def select(self, label: int) -> None:
        """Choose the label to paint with, and take the brush."""
        if self.labels is not None:
            paint_with(self.labels, label)

    def change(self, display: Callable[[Labels], None]) -> None:
        """Change how the labels look, see `napari_dinoiser.label_keys`."""
        if self.labels is not None:
            display(self.labels)

    def enter(self) -> None:
        """Bind the keys and hide all other layers, unless this is done."""
        self._keys.bind()
        if self._hidden is None:
            own = (self.image, self.labels)
            self._hidden = [x for x in self._viewer.layers if x.visible and x not in own]
            for layer in self._hidden:
                layer.visible = False

    def leave(self) -> None:
        """Restore what the keys did before, and the layers that were hidden."""
        self._keys.release()
        hidden, self._hidden = self._hidden or [], None
        for layer in hidden:
            layer.visible = True

    def disconnect(self) -> None:
        """Disconnect from the layers, which stay in the viewer."""
        self.leave()
        if self.labels is not None:
            self.labels.events.selected_label.disconnect(self._tell_label)
        self.image = self.labels = None

    def _add_labels(self, prompts: PromptSet) -> None:
        from napari.layers import Labels

        layer = Labels(PIXEL, name="labels under review", visible=False, **style_labels(prompts))
        self._insert(layer, len(self._viewer.layers))
        layer.events.selected_label.connect(self._tell_label)
        self.labels = layer

    def _add_image(self) -> None:
        from napari.layers import Image

        layers = self._viewer.layers
        pixel = np.stack([PIXEL] * 3, -1)
        layer = Image(pixel, rgb=True, name="image under review", visible=False)
        self._insert(layer, layers.index(self.labels))
        self.image = layer

    def _insert(self, layer: Layer, index: int) -> None:
        insert_unselected(self._viewer.layers, index, layer)
        self._keys.add(layer)

    def _set_visible(self, visible: bool) -> None:
        for layer in (self.image, self.labels):
            # setting visible again would make a layer lose its tool
            if layer is not None and layer.visible != visible:
                layer.visible = visible

    def _tell_label(self, event: Any) -> None:
        self._on_label(event.source.selected_label)
