"""The layers of the image under review, and keys that work on both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_dinoiser.label_layers import style_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari
    import numpy as np
    from napari.layers import Image, Labels

    from dinoiser.prompts import PromptSet
    from napari_dinoiser.review.review_session import OpenImage


class ReviewLayers:
    """One image layer and one labels layer that show one image after another.

    Parameters
    ----------
    viewer
        The viewer with the layers.
    keys
        Actions of keys while the canvas has the focus. napari asks the selected
        layer first, whose own keys would take precedence, so keys are bound to
        both layers and to the viewer.
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
        self._keys = keys
        self._on_label = on_label
        self._bound: list[tuple[Any, str, Callable | None]] = []
        self._active = False
        self.image: Image | None = None
        self.labels: Labels | None = None

    def show(self, opened: OpenImage, prompts: PromptSet) -> None:
        """Show an image and its labels; layers that were removed are added again."""
        image, labels = self.image, self.labels
        if labels is None or labels not in self._viewer.layers:
            labels = self._add_labels(opened.labels, prompts)
        else:
            self.show_labels(opened.labels)
        if image is None or image not in self._viewer.layers:
            image = self._add_image(opened.image)
        else:
            image.data = opened.image
        image.name = opened.labelled.image
        labels.name = f"{opened.labelled.image} labels"
        self._set_visible(True)
        self._viewer.reset_view()
        self._on_label(labels.selected_label)

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

    def toggle_labels(self) -> None:
        """Show or hide the labels."""
        if self.labels is not None:
            self.labels.visible = not self.labels.visible

    def select(self, label: int) -> None:
        """Choose the label to paint with."""
        if self.labels is not None:
            self.labels.selected_label = label

    def bind_keys(self) -> None:
        """Bind the keys, unless they are bound already."""
        if not self._active:
            self._active = True
            for provider in (self._viewer, self.image, self.labels):
                self._bind(provider)

    def release_keys(self) -> None:
        """Restore the previous key bindings."""
        # in reverse, so that a key bound twice ends up with its first binding
        for provider, key, function in reversed(self._bound):
            provider.bind_key(key, function, overwrite=True)
        self._bound = []
        self._active = False

    def disconnect(self) -> None:
        """Disconnect from the layers, which stay in the viewer."""
        self.release_keys()
        if self.labels is not None:
            self.labels.events.selected_label.disconnect(self._tell_label)
        self.image = self.labels = None

    def _add_labels(self, labels: np.ndarray, prompts: PromptSet) -> Labels:
        layer = self.labels = self._viewer.add_labels(labels, **style_labels(prompts))
        layer.events.selected_label.connect(self._tell_label)
        self._bind(layer)
        return layer

    def _add_image(self, image: np.ndarray) -> Image:
        layer = self.image = self._viewer.add_image(image, rgb=True)
        self._bind(layer)
        layers = self._viewer.layers
        layers.move(layers.index(layer), layers.index(self.labels))
        layers.selection.active = self.labels
        return layer

    def _set_visible(self, visible: bool) -> None:
        for layer in (self.image, self.labels):
            # setting visible again would make a layer lose its tool
            if layer is not None and layer.visible != visible:
                layer.visible = visible

    def _tell_label(self, event: Any) -> None:
        self._on_label(event.source.selected_label)

    def _bind(self, provider: Any) -> None:
        """Bind the keys to the viewer or a layer, if keys are active."""
        if provider is None or not self._active:
            return
        for key, action in self._keys.items():
            replaced = provider.bind_key(key, _ignore_provider(action), overwrite=True)
            self._bound.append((provider, key, replaced))


def _ignore_provider(action: Callable[[], Any]) -> Callable[[Any], None]:
    def on_key(_: Any) -> None:
        action()

    return on_key
