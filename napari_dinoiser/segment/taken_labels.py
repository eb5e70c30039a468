"""Take labels made elsewhere as one's own edits: of another layer, or of a mask file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton

from dinoiser.errors import InputError
from dinoiser.export.png import read_mask
from napari_dinoiser.in_view import full_size
from napari_dinoiser.own_layers import OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer

    from napari_dinoiser.segment.labelled_images import Labelled

FILE_FILTER = "Masks (*.png);;All files (*)"


class TakeLabelsButton(QPushButton):
    """Offers the other Labels layers and a file, whose labels become the user's.

    Parameters
    ----------
    viewer
        The viewer with the layers.
    labelled
        Returns the image being labelled; None if there is none.
    say
        Shows a sentence about what cannot be taken.
    """

    def __init__(
        self, viewer: Viewer, labelled: Callable[[], Labelled | None], say: Callable[[str], None]
    ) -> None:
        super().__init__("Take labels")
        self.setObjectName("take_labels")
        self.setToolTip("Take another Labels layer or a mask file as painted by you")
        self._viewer = viewer
        self._labelled = labelled
        self._say = say
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self._fill)
        self.setMenu(self._menu)

    def _fill(self) -> None:
        from napari.layers import Labels

        self._menu.clear()
        known = self._labelled()
        layers = [layer for layer in self._viewer.layers if OWN not in layer.metadata]
        for layer in layers:
            if known and isinstance(layer, Labels) and layer is not known.editor.layer:
                action = self._menu.addAction(layer.name)
                action.triggered.connect(
                    lambda _, layer=layer: self._take(layer.name, full_size(layer))
                )
        self._menu.addAction("From a file…").triggered.connect(self._open)

    def _open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Take a mask", "", FILE_FILTER)
        known = self._labelled()
        if path and known and known.session.prompts:
            colors = known.session.prompts.label_colors
            try:
                self._take(path, read_mask(path, colors, again="choose another file"))
            except InputError as error:
                self._say(str(error))

    def _take(self, name: str, array: Any) -> None:
        """Take the labels of an image, or of all planes of a stack; 0 takes nothing."""
        known = self._labelled()
        if known is None or known.session.prompts is None:
            return
        shape, prompts = known.session.edits.labels.shape, known.session.prompts
        if array.shape != shape:
            self._say(f"{name} has the shape {array.shape}, but the image has {shape}")
            return
        labels = np.asarray(array)  # of stores, all is read, as all is held in memory then
        ids = {item.id for item in prompts.classes}
        unknown = set(np.unique(labels).tolist()) - ids - {0, prompts.ignore}
        if unknown:
            some = ", ".join(map(str, sorted(unknown)[:5]))
            self._say(f"{name} has labels without a class: {some}; give classes these ids first")
            return
        known.session.edits.give_all(labels)
        known.editor.draw()
