"""A ledger of what the user has set, apart from what the model proposes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from napari_dinoiser.segment.parts import Part

STROKES_KEPT = 100
"""As many strokes can be undone."""
FREE, CONFIRMED, CHANGED = 0, 1, 2
"""Whose label a pixel has: the model's, the model's with the user's consent, or the user's."""

Box = tuple[int | slice, ...]
"""Index of a box of pixels, with a slice for each axis that the box has."""


class Holding(NamedTuple):
    """Who holds some pixels, and the labels that the user gave them.

    Attributes
    ----------
    owners
        (n,) uint8: `FREE`, `CONFIRMED` or `CHANGED`; (1,) if all are alike.
    painted
        (n,) labels, without meaning where a pixel is free; (1,) if all are alike.
    """

    owners: np.ndarray
    painted: np.ndarray

    def renumbered(self, new: Mapping[int, int]) -> Holding:
        """Return the same with new labels for some old ones."""
        return self._replace(painted=_renumbered(self.painted, new))


@dataclass
class Change:
    """Pixels of a box whose holding changed in one go, with what was there before.

    Attributes
    ----------
    box
        The box.
    bits
        Which of its pixels changed, eight in a byte.
    before, after
        Their holding.
    """

    box: Box
    bits: np.ndarray
    before: Holding
    after: Holding


class Edits:
    """Keeps what the user sets apart from what the model proposes.

    Every pixel shows the label that its user gave it or else the model's latest.
    Whatever the user does is a stroke: a list of changes, which are undone and
    redone together. While a stroke is open, proposals wait.

    Parameters
    ----------
    labels
        (..., H, W) unsigned integers: the array that is shown and painted on;
        it is changed in place, unless labels need more bits than it has.

    Attributes
    ----------
    owners
        (..., H, W) uint8: `FREE`, `CONFIRMED` or `CHANGED`, for each pixel.
    stroke_ended
        Called after each stroke, and when one is undone or redone.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        # zeros take no memory until they are written to
        self.owners = np.zeros(labels.shape, np.uint8)
        self.stroke_ended: list[Callable[[], object]] = []
        self._painted = np.zeros(labels.shape, labels.dtype)
        self._proposed = labels.copy() if labels.any() else np.zeros(labels.shape, np.uint8)
        self._open = 0
        self._stroke: list[Change] = []
        self._waiting: dict[object, tuple[Part, np.ndarray]] = {}
        self._done: deque[list[Change]] = deque(maxlen=STROKES_KEPT)
        self._undone: deque[list[Change]] = deque(maxlen=STROKES_KEPT)
        self._used: set[int] = set()

    @property
    def locked(self) -> np.ndarray:
        """(..., H, W) bool: pixels to which the user gave another label than the model."""
        return self.owners == CHANGED

    @property
    def used_labels(self) -> set[int]:
        """Labels that the user has given to pixels, and may give back to them by undo or redo."""
        return set(self._used)

    # ---- what the model says -----------------------------------------------------------------

    def propose(self, part: Part, labels: np.ndarray) -> None:
        """Show the model's labels (h, w) of a part on its free pixels, once no stroke is open."""
        if self._open:
            # the latest last, as parts may overlap
            self._waiting.pop(part.place, None)
            self._waiting[part.place] = part, labels
            return
        self._widen(labels.dtype)
        # what a program wrote into the array is the user's, too; it must be known before it is lost
        self.notice(part.key)
        self._proposed[part.key] = labels
        np.copyto(self.labels[part.key], labels, where=self.owners[part.key] == FREE)

    def _widen(self, dtype: np.dtype) -> None:
        """Make room for labels of a type, in another array to show if need be."""
        if not np.can_cast(dtype, self.labels.dtype):
            self.labels = self.labels.astype(dtype)
            self._painted = self._painted.astype(dtype)
        if not np.can_cast(dtype, self._proposed.dtype):
            self._proposed = self._proposed.astype(dtype)

    def notice(self, box: Box, shown: np.ndarray | None = None) -> None:
        """Give the user the pixels of a box whose labels were changed by other means than strokes.

        Parameters
        ----------
        box
            The box.
        shown
            Its labels, if the array has newer ones already.
        """
        shown = self.labels[box] if shown is None else shown
        owners = self.owners[box]
        changed = shown != self._proposed[box]
        if owners.any():
            changed = np.where(owners == FREE, changed, shown != self._painted[box])
        if changed.any():
            owners[changed] = CHANGED
            self._painted[box][changed] = shown[changed]
            self._used.update(np.unique(shown[changed]).tolist())

    # ---- what the user does ------------------------------------------------------------------

    def begin(self) -> None:
        """Open a stroke; one within another belongs to the outer one."""
        self._open += 1

    def paint(self, box: Box, where: np.ndarray, before: np.ndarray) -> None:
        """Enter pixels of a box as painted, in the open stroke or as one of their own.

        Parameters
        ----------
        box
            The box.
        where
            Its painted pixels, bool, also those that had the label already.
        before
            Its labels before; those painted are in `labels`.
        """
        self.notice(box, before)
        after = self.labels[box]
        owners = np.maximum(self.owners[box], CONFIRMED)
        owners[after != before] = CHANGED
        self._enter(box, where, owners, after)

    def give(self, plane: tuple[int, ...], where: np.ndarray, label: int) -> None:
        """Give the pixels of a plane that a mask (H, W) names a label, as a stroke."""
        rows, columns = (np.flatnonzero(where.any(axis)) for axis in (1, 0))
        if not len(rows):
            return
        rectangle = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        box: Box = (*plane, *rectangle)
        where = where[rectangle]
        before = self.labels[box].copy()
        self.labels[box][where] = label
        self.paint(box, where, before)

    def copy(self, plane: tuple[int, ...], other: tuple[int, ...]) -> None:
        """Give all pixels of another plane the labels of one, as a stroke."""
        rows, columns = slice(0, self.labels.shape[-2]), slice(0, self.labels.shape[-1])
        box: Box = (*other, rows, columns)
        before = self.labels[box].copy()
        self.labels[box] = self.labels[plane]
        self.paint(box, np.ones(before.shape, bool), before)

    def give_all(self, labels: np.ndarray) -> None:
        """Give all pixels the labels of an array of the same shape, but for 0, as a stroke."""
        self.begin()
        for plane in np.ndindex(labels.shape[:-2]):
            for label in np.unique(labels[plane]):
                if label:
                    self.give(plane, labels[plane] == label, int(label))
        self.end()

    def give_back(self, labels: Collection[int] | None = None) -> None:
        """Give the user's pixels back to the model: those with some labels, or all of them."""
        if labels is None:
            self.notice((slice(None),) * self.labels.ndim)
        self.begin()
        for box, held in self._held():
            where = held if labels is None else held & np.isin(self._painted[box], list(labels))
            self._enter(box, where, np.zeros(where.shape, np.uint8), self._painted[box])
        self.end()

    def repaint(self, label: int, other: int) -> None:
        """Give the user's pixels with one label another one."""
        self.begin()
        for box, held in self._held():
            where = held & (self._painted[box] == label)
            self._enter(box, where, self.owners[box], np.full(where.shape, other))
        self.end()

    def end(self) -> bool:
        """Close the stroke, which can be undone unless it changed nothing.

        Returns
        -------
        bool
            Whether proposals had waited for it and are shown now.
        """
        self._open -= 1
        if self._open:
            return False
        if self._stroke:
            self._done.append(self._stroke)
            self._undone.clear()
            self._tell()
        self._stroke = []
        return self._take_waiting()

    def abort(self) -> None:
        """Close the stroke and take back what it did."""
        for change in reversed(self._stroke):
            self._set(change, change.before)
        self._open, self._stroke = 0, []
        self._take_waiting()

    def undo(self) -> None:
        """Take back the last stroke: pixels get the label before, or the model's latest."""
        if self._done and not self._open:
            self._undone.append(self._done.pop())
            for change in reversed(self._undone[-1]):
                self._set(change, change.before)
            self._tell()

    def redo(self) -> None:
        """Do again the stroke that was undone last."""
        if self._undone and not self._open:
            self._done.append(self._undone.pop())
            for change in self._done[-1]:
                self._set(change, change.after)
            self._tell()

    # ---- classes -----------------------------------------------------------------------------

    def count(self, label: int) -> int:
        """Count the user's pixels with a label."""
        return sum(int((held & (self._painted[box] == label)).sum()) for box, held in self._held())

    def renumber(self, new: Mapping[int, int]) -> None:
        """Follow classes that got other labels, also in the strokes that can be undone or redone.

        Parameters
        ----------
        new
            The new labels of some old ones.
        """
        for box, held in self._held():
            painted = self._painted[box]
            painted[...] = _renumbered(painted, new)
            np.copyto(self.labels[box], painted, where=held)
        for stroke in (*self._done, *self._undone):
            for change in stroke:
                change.before = change.before.renumbered(new)
                change.after = change.after.renumbered(new)
        self._used = {new.get(label, label) for label in self._used}

    def use(self, labels: np.ndarray) -> None:
        """Continue on another array of the same shape; what differs in it is the user's."""
        self.labels = labels
        self._painted = self._painted.astype(labels.dtype, copy=False)

    # ---- the ledger --------------------------------------------------------------------------

    def _enter(self, box: Box, where: np.ndarray, owners: np.ndarray, painted: np.ndarray) -> None:
        """Change the holding of some pixels of a box, and remember what was there."""
        held, known = self.owners[box], self._painted[box]
        where = where & ((held != owners) | ((owners != FREE) & (known != painted)))
        if not where.any():
            return
        before = Holding(_squeeze(held[where]), _squeeze(known[where]))
        after = Holding(_squeeze(owners[where]), _squeeze(painted[where].astype(known.dtype)))
        change = Change(box, np.packbits(where), before, after)
        self._set(change, after)
        self._used.update(np.unique(after.painted).tolist())
        if self._open:
            self._stroke.append(change)
        else:
            self._done.append([change])
            self._undone.clear()
            self._tell()

    def _tell(self) -> None:
        for call in self.stroke_ended:
            call()

    def _set(self, change: Change, holding: Holding) -> None:
        """Set the holding of a change's pixels, and show their labels."""
        box, owners = change.box, self.owners[change.box]
        where = np.unpackbits(change.bits, count=owners.size).view(bool).reshape(owners.shape)
        owners[where] = holding.owners
        self._painted[box][where] = holding.painted
        free = holding.owners == FREE
        self.labels[box][where] = np.where(free, self._proposed[box][where], holding.painted)

    def _held(self) -> list[tuple[Box, np.ndarray]]:
        """Return the planes with pixels that the user has set, and which these are."""
        planes = [(index, self.owners[index]) for index in np.ndindex(self.owners.shape[:-2])]
        return [(plane, owners != FREE) for plane, owners in planes if owners.any()]

    def _take_waiting(self) -> bool:
        waiting, self._waiting = self._waiting, {}
        for part, labels in waiting.values():
            self.propose(part, labels)
        return bool(waiting)


def _renumbered(labels: np.ndarray, new: Mapping[int, int]) -> np.ndarray:
    result = labels.copy()
    for label, other in new.items():
        result[labels == label] = other
    return result


def _squeeze(values: np.ndarray) -> np.ndarray:
    """Keep one of values that are all alike: a stroke over a whole photograph takes no memory."""
    return values[:1].copy() if (values == values[0]).all() else values
