"""What keys do on the canvas while the Segment tab is shown."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_dinoiser.class_search import ClassSearch
from napari_dinoiser.in_view import in_world, move_slider
from napari_dinoiser.key_bindings import KeyBindings
from napari_dinoiser.label_keys import DISPLAY_KEYS, SEARCH_KEYS, paint_with
from napari_dinoiser.uncertain_places import look_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from napari.layers import Image, Labels

    from napari_dinoiser.prompts.table import PromptTable
    from napari_dinoiser.segment.labelled_images import Labelled, LabelledImages
    from napari_dinoiser.segment.painted_classes import PaintedClasses
    from napari_dinoiser.segment.word_box import WordBox

NO_SLICE = "There is no slice of this image in view: the sliders are beyond its slices."


class CanvasKeys:
    """Keys that choose classes, change how labels look, and lead through image and stack.

    Parameters
    ----------
    viewer
        The viewer.
    images
        The images being labelled.
    labelled
        Returns the one that is chosen; None if there is none.
    table, painted
        The classes, and those that only painted pixels have.
    box
        The box in which the words compete.
    tell
        Shows a sentence about what a key did.
    """

    def __init__(
        self,
        viewer: Viewer,
        images: LabelledImages,
        labelled: Callable[[], Labelled | None],
        table: PromptTable,
        painted: PaintedClasses,
        box: WordBox,
        tell: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._images = images
        self._labelled = labelled
        self._table = table
        self._painted = painted
        self._tell = tell
        self._search = ClassSearch(table)
        self._search.label_chosen.connect(self._take)
        digits = {str(digit): partial(self._take_digit, digit) for digit in range(10)}
        looks = {key: partial(self._change, change) for key, change in DISPLAY_KEYS.items()}
        others: dict[str, Callable[[], None]] = {
            **dict.fromkeys(SEARCH_KEYS, self._ask),
            "W": box.toggle,
            "G": self._next_place,
            ",": partial(self._copy_slice, -1),
            ".": partial(self._copy_slice, 1),
        }
        self._bindings = KeyBindings(digits | looks | others)
        for provider in (viewer, *images.layers()):
            self.add(provider)

    def add(self, provider: Viewer | Image | Labels) -> None:
        """Let the keys work in a viewer or layer, too."""
        self._bindings.add(provider)

    def bind(self) -> None:
        """Let the keys work."""
        self._bindings.bind()

    def release(self) -> None:
        """Give the keys back."""
        self._bindings.release()

    def label_of(self, digit: int | None) -> int | None:
        """Return the label of a digit: 0 is the background, and others are rows of the table."""
        if not digit:
            return digit
        rows = self._table.rows()[digit - 1 : digit]
        return rows[0].id if rows and not rows[0].blank else None

    def _take_digit(self, digit: int) -> None:
        label = self.label_of(digit)
        if label is not None:
            self._take(label)

    def _take(self, label: int) -> None:
        """Choose a class, and paint with it."""
        known = self._labelled()
        if known is not None:
            self._viewer.layers.selection.active = known.editor.layer
            paint_with(known.editor.layer, label)

    def _change(self, change: Callable[[Labels], None]) -> None:
        known = self._labelled()
        if known is not None:
            change(known.editor.layer)

    def _ask(self) -> None:
        prompts = self._table.prompt_set()
        if self._labelled() is not None and prompts is not None:
            self._search.ask(self._painted.legend(prompts))

    def _next_place(self) -> None:
        """Show the next place in which the model is unsure, and tell about it."""
        known = self._labelled()
        if known is None:
            return
        plane = self._images.plane(known)
        if plane is None:
            self._tell(NO_SLICE)
            return
        tour = known.tour(plane)
        place = tour.step()
        if place is not None:
            dims, layer = self._viewer.dims, known.editor.layer
            corners = [in_world(dims, layer, (*plane, *corner)) for corner in place.corners]
            look_at(self._viewer, corners)
        self._tell(tour.describe(place))

    def _copy_slice(self, step: int) -> None:
        """Give the next slice of a stack (or the previous one, -1) this one's labels, and show it.

        The stack's axis is that of the slider that was used last, as for the arrow keys.
        """
        known = self._labelled()
        if known is None or known.session.edits.labels.ndim == 2:
            return
        dims, layer, here = self._viewer.dims, known.editor.layer, self._images.plane(known)
        if here is None:
            self._tell(NO_SLICE)
            return
        axis = dims.last_used - (dims.ndim - layer.ndim)  # the labels may have fewer axes
        there = _neighbour(here, axis, step, layer.data.shape)
        if there is None:
            self._tell("There is no slice to copy the labels to.")
            return
        move_slider(dims, layer, axis, step)
        known.session.edits.copy(here, there)
        known.editor.draw()
        self._tell("The labels of the other slice are copied here; undo takes them back.")


def _neighbour(
    plane: tuple[int, ...], axis: int, step: int, shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the plane that is some steps away along an axis; None if there is none."""
    if not 0 <= axis < len(plane) or not 0 <= plane[axis] + step < shape[axis]:
        return None
    return *plane[:axis], plane[axis] + step, *plane[axis + 1 :]
