"""The image layers being labelled, each with its Labels layer."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_dinoiser.in_view import plane_in_view
from napari_dinoiser.label_layers import TRANSPARENT, style_labels
from napari_dinoiser.own_layers import PHOTO, keep_over, place_labels
from napari_dinoiser.segment.label_editor import LabelEditor
from napari_dinoiser.segment.map_layer import MapLayer
from napari_dinoiser.segment.session import Session
from napari_dinoiser.uncertain_places import PlaceTour, uncertain_places

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari import Viewer
    from napari.layers import Image, Labels, Layer

    from dinoiser.prompts import PromptClass, PromptSet
    from dinoiser.segmentation import Segmentation
    from napari_dinoiser.segment.edits import Edits
    from napari_dinoiser.segment.parts import Part
    from napari_dinoiser.segment.session import Request


@dataclass
class Labelled:
    """An image layer and everything that belongs to it.

    Attributes
    ----------
    image
        The image layer.
    channel_axis
        Axis of the image that contains channels, see `without_channels`.
    session
        Its labels and edits.
    editor
        Its Labels layer, `editor.layer`.
    map
        Its layer for the confidence and heat maps.
    objects
        Its layer of numbered objects; None before there is one.
    looks
        What `LabelledImages.style` set last: names, and colours with hidden
        classes.
    tours
        Of the planes whose uncertain places are being visited, until the next
        result.
    """

    image: Image
    channel_axis: int | None
    session: Session
    editor: LabelEditor
    map: MapLayer
    objects: Labels | None = None
    looks: tuple[Any, Any] = (None, None)
    tours: dict[tuple[int, ...], PlaceTour] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[Layer | None, ...]:
        """The layers over the image: its labels, objects and map; None for those not there."""
        return self.editor.layer, self.objects, self.map.layer

    def give(self, plane: tuple[int, ...], where: np.ndarray, label: int) -> None:
        """Give the pixels of a plane that a mask (H, W) names a label, and show it."""
        self.session.edits.give(plane, where, label)
        self.editor.draw()

    def tour(self, plane: tuple[int, ...]) -> PlaceTour:
        """Return the tour through a plane's uncertain places."""
        if plane not in self.tours:
            self.tours[plane] = PlaceTour(uncertain_places(self.session.doubted(plane)))
        return self.tours[plane]


class LabelledImages(QObject):
    """Makes Labels layers and keeps them up to date, for as long as the viewer's window is open.

    The tab may be closed and opened again; strokes in between count, too.

    Parameters
    ----------
    viewer
        The viewer with the layers.

    Attributes
    ----------
    words, kept, model
        What the tab last had, to be opened with again: the words, the classes that
        only painted pixels still have, by label, and the model with its heads.

    See Also
    --------
    of_window : those that the window has already.
    """

    layer_added = Signal(object)
    """Emitted with each new Labels layer."""
    stroke_ended = Signal()
    """Emitted after each stroke on any image, see `Edits.stroke_ended`."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer.window._qt_window)
        self.viewer = viewer
        self.words: PromptSet | None = None
        self.kept: dict[int, PromptClass] = {}
        self.model: tuple[str, Path | None] | None = None
        self._all: list[Labelled] = []
        # of images whose Labels layer was removed: what was painted comes back with the next one
        self._waiting: list[tuple[Image, Session]] = []
        viewer.layers.events.removed.connect(self._forget)

    @classmethod
    def of_window(cls, viewer: Viewer) -> LabelledImages:
        """Find those of a viewer's window, or make them."""
        return viewer.window._qt_window.findChild(cls) or cls(viewer)

    def of(self, image: Image | None) -> Labelled | None:
        """Find what belongs to an image layer; None if it has not been labelled yet."""
        return next((known for known in self._all if known.image is image), None)

    def under(self, layer: Layer | None) -> Image | None:
        """Find the image that a layer of labels, objects or a map lies over; None if none does."""
        over = (known.image for known in self._all if layer in known.layers)
        return next(over, None) if layer else None

    def layers(self) -> list[Labels]:
        """Return the Labels layers."""
        return [known.editor.layer for known in self._all]

    def edits(self) -> list[Edits]:
        """Return the edits of all images, also of those whose Labels layer was removed."""
        return [session.edits for session in self._sessions()]

    def word_labels(self) -> set[int]:
        """Return the labels that pixels have, or had until now, by the words."""
        return set().union(*(session.word_labels for session in self._sessions()))

    def _sessions(self) -> list[Session]:
        return [known.session for known in self._all] + [session for _, session in self._waiting]

    def draw(self) -> None:
        """Show what has changed in all images."""
        for known in self._all:
            known.editor.draw()

    def take(self, image: Image, request: Request, part: Part, result: Segmentation) -> Labelled:
        """Show a result on an image layer; the first result creates its Labels layer."""
        axis, shape = request.source.channel_axis, request.source.shape
        known = self.of(image)
        if known and (not known.editor.fits or known.session.edits.labels.shape != shape):
            self._all.remove(known)  # the image has changed; its old labels are left alone
            known.map.remove()
            known = None
        session = known.session if known else self._session(image, shape)
        session.take(request, part, result)
        if known is None:
            known = self._add(image, axis, session)
        known.tours.clear()
        known.editor.draw()
        return known

    def style(self, known: Labelled, prompts: PromptSet, visible: Collection[int]) -> None:
        """Set the prompts' names and colours on labels, and hide classes that are not visible.

        Unchanged values are not set again, as the user may have edited them since.
        """
        layer, style = known.editor.layer, style_labels(prompts)
        colors = {item.id: item.color for item in prompts.classes}
        hidden = colors.keys() - set(visible) - {0}
        before, known.looks = known.looks, (style["features"], (colors, hidden))
        layer.metadata = {**layer.metadata, **style["metadata"]}
        if known.looks[0] != before[0]:
            layer.features = style["features"]
        if known.looks[1] != before[1]:
            colormap = style["colormap"]
            shown = {**colormap.color_dict, **dict.fromkeys(hidden, TRANSPARENT)}
            layer.colormap = type(colormap)(color_dict=shown)

    def show_map(self, known: Labelled, kind: str | None, class_name: str | None) -> None:
        """Show a map of what is in view, see `MapLayer.show`; None shows the labels alone."""
        plane = self.plane(known)
        if kind and class_name and plane is not None and known.session.parts(plane):
            known.map.show(kind, class_name, plane)
        else:
            known.map.hide()

    def show_objects(self, known: Labelled, plane: tuple[int, ...], objects: np.ndarray) -> None:
        """Show the objects of a plane in a Labels layer of their own.

        Parameters
        ----------
        known
            The image.
        plane
            The plane.
        objects
            (H, W) integers, see `map_instances`.
        """
        name, shape = f"objects of {known.image.name}", known.session.edits.labels.shape
        layers, layer = self.viewer.layers, known.objects
        if layer is None and name in layers:  # of labels that were removed
            layer = layers[name]
        if layer is None or layer not in layers or layer.data.shape != shape:
            place = place_labels(known.image, known.channel_axis)
            layer = self.viewer.add_labels(np.zeros(shape, np.int32), name=name, **place)
            keep_over(layer, known.image, known.channel_axis)
        known.objects = layer
        layer.data[plane] = objects  # those of other planes stay
        layer.refresh()

    def plane(self, known: Labelled) -> tuple[int, ...] | None:
        """Return the plane of the labels that the viewer shows, see `plane_in_view`."""
        return plane_in_view(self.viewer.dims, known.editor.layer)

    def _session(self, image: Image, shape: tuple[int, ...]) -> Session:
        """Return the session that an image had, if its Labels layer was removed, or a new one."""
        found = next((pair for pair in self._waiting if pair[0] is image), None)
        if found is not None:
            self._waiting.remove(found)
            if found[1].edits.labels.shape == shape:
                return found[1]
        session = Session(shape, image.metadata.get(PHOTO))
        session.edits.stroke_ended.append(self._tell_stroke)
        return session

    def _tell_stroke(self) -> None:
        with suppress(RuntimeError):  # the window is gone
            self.stroke_ended.emit()

    def _add(self, image: Image, axis: int | None, session: Session) -> Labelled:
        from napari.layers import Labels

        prompts = session.prompts
        assert prompts is not None  # set by the first result
        layer = Labels(
            session.edits.labels,
            name=f"labels of {image.name}",
            **style_labels(prompts),
            **place_labels(image, axis),
        )
        # before napari asks the layer for its status, at which it fails in 3D
        editor = LabelEditor(layer, session)
        self.viewer.add_layer(layer)
        keep_over(layer, image, axis)
        image.events.data.connect(self._leave_photo)
        layer.selected_label = next((item.id for item in prompts.classes if item.id), 1)
        shown = MapLayer(self.viewer, image, layer, session, axis, self)
        known = Labelled(image, axis, session, editor, shown)
        self._all.append(known)
        self.layer_added.emit(layer)
        return known

    def _leave_photo(self, event: Any) -> None:
        """Hide the labels of a photo, and leave them alone, once its layer shows another one."""
        image: Image = event.source
        photo, known = image.metadata.get(PHOTO), self.of(image)
        self._waiting = [
            (other, session)
            for other, session in self._waiting
            if other is not image or session.photo == photo
        ]
        if known and known.session.photo != photo:
            self._all.remove(known)
            known.map.remove()
            for layer in known.layers:
                if layer is not None:
                    layer.visible = False

    def _forget(self, event: Any) -> None:
        layer: Layer = event.value
        self._waiting = [pair for pair in self._waiting if pair[0] is not layer]
        for known in list(self._all):
            if layer in (known.image, known.editor.layer):
                self._all.remove(known)
                known.map.remove()
                if layer is known.editor.layer:
                    self._waiting.append((known.image, known.session))
