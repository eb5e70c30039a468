"""The layer over an image that shows the model's confidence or a class's heat map."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from qtpy.QtCore import QTimer

from napari_dinoiser.background import Background
from napari_dinoiser.label_keys import OUTLINE
from napari_dinoiser.own_layers import OWN, insert_unselected, keep_over, place_labels
from napari_dinoiser.segment.image_layers import visible_part
from napari_dinoiser.segment.parts import overlap

if TYPE_CHECKING:
    from concurrent.futures import Future

    from napari import Viewer
    from napari.components import LayerList
    from napari.layers import Image, Labels
    from qtpy.QtCore import QObject

    from napari_dinoiser.segment.session import LabelledPart, Session

CONFIDENCE, HEAT_MAP = "confidence", "heat map"
COLORMAPS = {CONFIDENCE: "gray", HEAT_MAP: "inferno"}


class Wanted(NamedTuple):
    """What is to be shown: `CONFIDENCE`, or the `HEAT_MAP` of a class, in a plane."""

    kind: str
    class_name: str
    plane: tuple[int, ...]


class MapLayer:
    """One layer for all maps of an image; while none is shown, it is hidden.

    The window does not wait: heat maps are computed in a thread, and the layer
    stays, as napari takes a tenth of a second to add one, and more to remove it.

    Parameters
    ----------
    viewer
        The viewer.
    image
        The image.
    labels
        Its Labels layer. The map is shown below it, and its labels as outlines
        meanwhile.
    session
        The session of the labels.
    channel_axis
        Axis of the image that contains channels, see `without_channels`.
    parent
        What the computing ends with.

    Attributes
    ----------
    layer
        The layer; None before the first map.
    """

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        labels: Labels,
        session: Session,
        channel_axis: int | None,
        parent: QObject,
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._labels = labels
        self._session = session
        self._channel_axis = channel_axis
        self._background = Background(parent)
        self.layer: Image | None = None
        self._kind = CONFIDENCE
        self._wanted: Wanted | None = None
        # class and part on the layer, by place; empty while it shows the confidence
        self._drawn: dict[object, tuple[str, LabelledPart]] = {}
        # width of outlines that the user had, 0 for areas; None while no map is shown
        self._contour: int | None = None

    def show(self, kind: str, class_name: str, plane: tuple[int, ...]) -> None:
        """Show a map of what is in view in a plane, as soon as it is there; see `Wanted`."""
        self._wanted = Wanted(kind, class_name, plane)
        self._draw()

    def hide(self) -> None:
        """Show the labels alone."""
        self._wanted = None
        if self._contour is None:
            return
        if self.layer is not None:
            self.layer.visible = False
            # unlike a heat map, it takes no memory of its own, and is up to date
            self._change(CONFIDENCE, "")
        self._labels.contour, self._contour = self._contour, None

    def remove(self) -> None:
        """Take the layer away, once napari is done with what it does now."""
        self.hide()
        # without self: a bound method would not keep it alive until then
        QTimer.singleShot(0, partial(_remove, self._viewer.layers, self.layer))

    def _add(self) -> None:
        """Add the layer without showing it."""
        from napari.layers import Image

        self._kind = CONFIDENCE
        self._drawn.clear()
        self.layer = Image(
            self._session.confidence,
            colormap=COLORMAPS[CONFIDENCE],
            contrast_limits=(0, 1),
            opacity=0.7,
            visible=self._contour is not None,
            metadata={OWN: True},
            **place_labels(self._image, self._channel_axis),
        )
        keep_over(self.layer, self._image, self._channel_axis)
        layers = self._viewer.layers
        insert_unselected(layers, layers.index(self._labels), self.layer)

    def _draw(self) -> None:
        """Draw the next part that is not drawn yet, and then show the map."""
        wanted = self._wanted
        if wanted is None or self._background.busy:
            return
        part = self._next_part(wanted)

        def compute() -> np.ndarray | None:
            return part and part.heat_map(wanted.class_name)

        self._background.start(compute, lambda heat: self._take(wanted, part, heat))

    def _take(
        self, wanted: Wanted, part: LabelledPart | None, computed: Future[np.ndarray | None]
    ) -> None:
        """Draw what was computed, unless something else is wanted by now."""
        heat = computed.result()
        known = self._session.parts(wanted.plane)
        outdated = part is not None and not any(part is one for one in known)
        if wanted != self._wanted or outdated:
            self._draw()
        elif self.layer is None or self.layer not in self._viewer.layers:
            self._add()
            # to be shown in another turn of the window, as this one has been long enough
            self._background.start(lambda: heat, lambda again: self._take(wanted, part, again))
        else:
            self._change(wanted.kind, wanted.class_name)
            if part is not None and heat is not None:
                for piece, inside in part.pieces():
                    self.layer.data[piece.key] = heat[inside]
                self._drawn[part.part.place] = wanted.class_name, part
            self._reveal()
            if self._next_part(wanted) is not None:
                self._draw()

    def _next_part(self, wanted: Wanted) -> LabelledPart | None:
        """Return a part in view whose heat map is wanted and not drawn yet; None if there is none.

        What is drawn is still right if it is of the same class and from the same result.
        """
        if wanted.kind == CONFIDENCE:
            return None
        view = visible_part(self._image)
        for part in self._session.parts(wanted.plane):
            name, known = self._drawn.get(part.part.place, (None, None))
            drawn = name == wanted.class_name and known is part
            if not drawn and overlap(part.part.rectangle, view):
                return part
        return None

    def _change(self, kind: str, class_name: str) -> None:
        """Let the layer hold another map."""
        layer, confidence = self.layer, self._session.confidence
        assert layer is not None  # added before
        if kind != self._kind:
            self._kind = kind
            self._drawn.clear()
            # unlike those of zeros_like, these zeros take no memory until drawn on
            zeros = np.zeros(confidence.shape, confidence.dtype)
            layer.data = confidence if kind == CONFIDENCE else zeros
            layer.colormap = COLORMAPS[kind]
        name = f"{kind} of {self._image.name}" if kind == CONFIDENCE else f"{kind}: {class_name}"
        if layer.name != name:
            layer.name = name

    def _reveal(self) -> None:
        """Show the layer, and the labels over it as outlines."""
        assert self.layer is not None  # added before
        if self._contour is None:
            self._contour, self._labels.contour = self._labels.contour, OUTLINE
            self.layer.visible = True
        else:
            self.layer.refresh(extent=False)


def _remove(layers: LayerList, layer: Image | None) -> None:
    if layer in layers:
        layers.remove(layer)
