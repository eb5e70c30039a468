"""Track which pixels of a Labels layer are painted."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoiser.segment.parts import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Labels

    from napari_dinoiser.segment.label_session import Session


class LabelEditor:
    """Tells a session what the user does to its Labels layer, and fills the status bar.

    napari reports that something was painted, but neither which pixels already
    had the label nor that a change was an undo. So the layer's own methods are
    wrapped.

    Parameters
    ----------
    layer
        Layer that shows `session.edits.labels`.
    session
        Session that keeps the edits.
    """

    def __init__(self, layer: Labels, session: Session) -> None:
        from napari.layers import Labels

        self.layer = layer
        self.session = session
        # a layer that is never shown and painted in the same way tells which pixels a tool touches
        self._touched = Labels(np.zeros(layer.data.shape, np.uint8))
        self._boxes: dict[tuple[int, ...], np.ndarray] = {}  # bounds of what is painted, by plane
        edits = session.edits
        layer.paint = self._touching(layer.paint, self._touched.paint)
        layer.paint_polygon = self._touching(layer.paint_polygon, self._touched.paint_polygon)
        # fills one label's pixels: all of them change
        layer.fill = self._touching(layer.fill, None)
        layer.undo = self._followed(layer.undo, edits.undo)
        layer.redo = self._followed(layer.redo, edits.redo)
        layer.get_status = self._informed(layer.get_status)
        layer.events.paint.connect(self._end_stroke)
        layer.events.data.connect(self._use_data)

    @property
    def fits(self) -> bool:
        """Whether the layer's labels still have the session's shape."""
        return self.layer.data.shape == self.session.edits.labels.shape

    def draw(self) -> None:
        """Show what the session has changed."""
        self.layer.refresh(extent=False)

    def clear(self) -> None:
        """Reset all pixels to the model's labels, and clear the undo history."""
        self.session.edits.clear()
        self.layer.editable = False  # makes napari clear its undo history
        self.layer.editable = True
        self.draw()

    def _touching(
        self, original: Callable[..., None], touch: Callable[..., None] | None
    ) -> Callable[..., None]:
        def painting(places: Any, new_label: int, *rest: Any, **keywords: Any) -> None:
            self._grow_boxes(np.atleast_2d(np.asarray(places, float)), everywhere=touch is None)
            if touch and not self.layer.preserve_labels:  # otherwise only changed pixels count
                self._touched.brush_size = self.layer.brush_size
                self._touched.n_edit_dimensions = self.layer.n_edit_dimensions
                touch(places, 1, *rest, **keywords)
            original(places, new_label, *rest, **keywords)

        return painting

    def _followed(
        self, original: Callable[[], None], follow: Callable[[], None]
    ) -> Callable[[], None]:
        def both() -> None:
            original()
            follow()
            self.draw()

        return both

    def _informed(self, original: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
        def get_status(position: Any = None, **keywords: Any) -> dict[str, str]:
            status = original(position, **keywords)
            if position is not None and self.fits:
                data = self.layer.world_to_data(position) if keywords.get("world") else position
                known = self.session.describe([round(float(value)) for value in data])
                status["coordinates"] += f"; {known}" if known else ""
            return status

        return get_status

    def _grow_boxes(self, points: np.ndarray, *, everywhere: bool) -> None:
        # a generous rectangle around the stroke, so that not the whole image is compared at its end
        size = self.layer.data.shape[-2:]
        reach = max(size) if everywhere else self.layer.brush_size
        for *plane, row, column in points:
            point = np.array([row, column])
            box = np.array([point - reach, point + reach + 1]).clip(0, size).astype(int)
            key = tuple(round(number) for number in plane)
            known = self._boxes.get(key, box)
            self._boxes[key] = np.array([np.minimum(known, box)[0], np.maximum(known, box)[1]])

    def _end_stroke(self, event: Any = None) -> None:
        parts = list(self._painted())
        self._boxes.clear()
        self.session.edits.end_stroke([(part, self._touched.data[part.key] != 0) for part in parts])
        for part in parts:
            self._touched.data[part.key] = 0

    def _painted(self) -> Iterator[Part]:
        """Yield the painted parts, or all planes if they are not known."""
        if self._boxes and self.layer.n_edit_dimensions == 2:
            for plane, ((top, left), (bottom, right)) in self._boxes.items():
                yield Part(plane, slice(top, bottom), slice(left, right))
            return
        *stack, height, width = self.layer.data.shape
        for plane in product(*map(range, stack)):
            yield Part(plane, slice(0, height), slice(0, width))

    def _use_data(self, event: Any = None) -> None:
        if self.fits:
            self.session.edits.labels = self.layer.data
