"""Enter what is painted on a Labels layer in a session's ledger."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Labels

    from napari_dinoiser.segment.edits import Box
    from napari_dinoiser.segment.session import Session


class LabelEditor:
    """Tells a session what the user does to its Labels layer, and fills the status bar.

    napari reports that labels changed, but neither which pixels a tool touched
    nor when a stroke begins and ends, and it undoes to labels that may be
    outdated. So the layer's own methods are wrapped, and undo and redo replaced.

    Parameters
    ----------
    layer
        Layer that shows `session.edits.labels`.
    session
        Session that keeps the edits.
    """

    def __init__(self, layer: Labels, session: Session) -> None:
        self.layer = layer
        self.session = session
        self._inside = False  # a tool that is recorded, and may use another
        # tools
        layer.paint = self._painting(layer.paint, self._around_brush)
        layer.paint_polygon = self._painting(layer.paint_polygon, self._around_polygon)
        layer.fill = self._filling(layer.fill)
        layer.data_setitem = self._setting(layer.data_setitem)
        # strokes: of a mouse button held down, and (since napari 0.9) of the encircling brush
        layer.block_history = self._grouping(layer.block_history)
        if hasattr(layer, "_begin_stroke"):
            layer._begin_stroke = self._after(layer._begin_stroke, session.edits.begin)
            layer._commit_stroke = self._after(layer._commit_stroke, self._end)
            layer._abort_stroke = self._aborting(layer._abort_stroke)
        layer.undo = self._drawn(session.edits.undo)
        layer.redo = self._drawn(session.edits.redo)
        layer.get_status = self._informed(layer.get_status)
        layer.events.data.connect(self._use_data)

    @property
    def fits(self) -> bool:
        """Whether the layer's labels still have the session's shape."""
        return self.layer.data.shape == self.session.edits.labels.shape

    def draw(self) -> None:
        """Show what the session has changed."""
        labels = self.session.edits.labels
        if self.fits and self.layer.data.dtype != labels.dtype:  # there are more classes now
            self.layer.data = labels
        self.layer.refresh(extent=False)

    def clear(self) -> None:
        """Reset all pixels to the model's labels; this can be undone."""
        self.session.edits.give_back()
        self.draw()

    # ---- tools -------------------------------------------------------------------------------

    def _painting(self, original: Callable[..., None], around: Callable[..., Box]) -> Callable:
        """Wrap a tool that covers a shape, and find all pixels that it covers."""

        def painting(places: Any, new_label: int, *rest: Any, **keywords: Any) -> None:
            box = around(np.atleast_2d(np.asarray(places, float)))
            edits = self.session.edits
            before = edits.labels[box].copy()
            # The tool skips pixels that have the label already. So that it reports them, too, it
            # is used on others, which are put back where it was not used.
            seeks_all = not self.layer.preserve_labels
            if seeks_all:
                edits.labels[box] = 1 if new_label == 0 else 0
            try:
                with self._tool():
                    original(places, new_label, *rest, **keywords)
            finally:
                after = edits.labels[box]
                covered = after == new_label if seeks_all else after != before
                np.copyto(after, before, where=~covered)
            edits.paint(box, covered, before)
            if keywords.get("refresh", rest[0] if rest else True):
                self.draw()

        return painting

    def _filling(self, original: Callable[..., None]) -> Callable[..., None]:
        """Wrap the bucket, all of whose pixels change."""

        def filling(coord: Any, *rest: Any, **keywords: Any) -> None:
            box = self._box(np.atleast_2d(np.asarray(coord, float)), max(self.layer.data.shape))
            before = self.session.edits.labels[box].copy()
            with self._tool():
                original(coord, *rest, **keywords)
            self.session.edits.paint(box, self.session.edits.labels[box] != before, before)

        return filling

    def _setting(self, original: Callable[..., None]) -> Callable[..., None]:
        """Wrap what programs use, unless it is a tool's way of writing."""

        def setting(indices: Any, *rest: Any, **keywords: Any) -> None:
            if self._inside:
                original(indices, *rest, **keywords)
                return
            labels = self.session.edits.labels
            where, before = np.zeros(labels.shape, bool), labels.copy()
            where[indices] = True
            original(indices, *rest, **keywords)
            whole = (slice(None),) * labels.ndim
            self.session.edits.paint(whole, where, before)

        return setting

    @contextmanager
    def _tool(self) -> Iterator[None]:
        outer, self._inside = self._inside, True
        try:
            yield
        finally:
            self._inside = outer

    def _around_brush(self, points: np.ndarray) -> Box:
        return self._box(points, self.layer.brush_size // 2 + 2)

    def _around_polygon(self, points: np.ndarray) -> Box:
        return self._box(points, 2)

    def _box(self, points: np.ndarray, reach: int) -> Box:
        """Return the box around points (n, axes), wider only along the axes that are painted on."""
        layer = self.layer
        painted = layer._slice_input.order[-layer.n_edit_dimensions :]
        reaches = [reach if axis in painted else 0 for axis in range(layer.ndim)]
        low = np.floor(points.min(0)) - reaches
        high = np.ceil(points.max(0)) + reaches + 1
        for axis, length in enumerate(layer.data.shape):
            low[axis], high[axis] = np.clip((low[axis], high[axis]), 0, length)
        return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

    # ---- strokes -----------------------------------------------------------------------------

    def _grouping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def grouping() -> Iterator[None]:
            self.session.edits.begin()
            try:
                with original():
                    yield
            finally:
                self._end()

        return grouping

    def _end(self) -> None:
        if self.session.edits.end():
            self.draw()

    def _aborting(self, original: Callable[[], None]) -> Callable[[], None]:
        def aborting() -> None:
            # napari puts back what its tools found, which is not what was shown, see `_painting`
            shown = self.session.edits.labels.copy()
            original()
            self.session.edits.labels[...] = shown
            self.session.edits.abort()
            self.draw()

        return aborting

    def _after(self, original: Callable[[], None], follow: Callable[[], Any]) -> Callable:
        def both() -> None:
            original()
            follow()

        return both

    def _drawn(self, act: Callable[[], None]) -> Callable[[], None]:
        def acting() -> None:
            act()
            self.draw()

        return acting

    # ---- the layer ---------------------------------------------------------------------------

    def _informed(self, original: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
        def get_status(position: Any = None, **keywords: Any) -> dict[str, str]:
            if keywords.get("view_direction") is None:  # the pointer has not been on the canvas
                keywords.pop("dims_displayed", None)  # with it, napari 0.9 fails in 3D
            status = original(position, **keywords)
            if position is not None and self.fits:
                data = self.layer.world_to_data(position) if keywords.get("world") else position
                known = self.session.describe([round(float(value)) for value in data])
                status["coordinates"] += f"; {known}" if known else ""
            return status

        return get_status

    def _use_data(self, event: Any = None) -> None:
        if self.fits and self.layer.data is not self.session.edits.labels:
            self.session.edits.use(self.layer.data)
