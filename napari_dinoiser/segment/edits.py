"""Which labels a person has set, and what the model says of all others."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoiser.segment.parts import Part

STROKES_KEPT = 100
"""As many as napari can undo."""

Places = tuple[np.ndarray, ...]


class Edits:
    """Keeps what a person paints apart from what the model proposes.

    A pixel is locked when a person has set it, by whatever means; proposals
    change the others only.

    Parameters
    ----------
    labels
        (..., H, W) unsigned integers: the array that is shown and painted on.
        It is written to.

    Attributes
    ----------
    locked
        (..., H, W) bool: pixels that belong to the person.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        self.locked = np.zeros(labels.shape, bool)
        self._proposed = labels.copy() if labels.any() else np.zeros(labels.shape, np.uint8)
        self._strokes: deque[Places] = deque(maxlen=STROKES_KEPT)
        self._undone: deque[Places] = deque(maxlen=STROKES_KEPT)

    def propose(self, part: Part, labels: np.ndarray) -> None:
        """Show the model's labels (h, w) of a part wherever no person has been."""
        self.notice(part)
        self._proposed[part.key] = labels
        shown = self.labels[part.key]
        np.copyto(shown, labels, where=~self.locked[part.key])

    def notice(self, part: Part, touched: np.ndarray | None = None) -> Places:
        """Lock what a person has changed in a part since the last look.

        Parameters
        ----------
        part
            Where to look.
        touched
            (h, w) bool: pixels that were painted, also those which had the
            label already and so did not change.

        Returns
        -------
        tuple of ndarray
            The pixels that are newly locked, an index array for each axis.
        """
        changed = self.labels[part.key] != self._proposed[part.key]
        if touched is not None:
            changed |= touched
        changed &= ~self.locked[part.key]
        rows, columns = np.nonzero(changed)
        leading = (np.full(len(rows), number) for number in part.plane)
        places = (*leading, rows + part.rows.start, columns + part.columns.start)
        self.locked[places] = True
        return places

    def end_stroke(self, painted: Sequence[tuple[Part, np.ndarray]]) -> None:
        """Note what was painted in one go, and can be undone so: parts and pixels, see `notice`."""
        places = [self.notice(part, touched) for part, touched in painted]
        self._strokes.append(tuple(np.concatenate(axis) for axis in zip(*places, strict=True)))
        self._undone.clear()

    def undo(self) -> None:
        """Follow an undo: what the stroke had locked goes back to the model's newest labels."""
        if self._strokes:
            places = self._strokes.pop()
            self._undone.append(places)
            self.locked[places] = False
            self.labels[places] = self._proposed[places]

    def redo(self) -> None:
        """Follow a redo, which has painted again."""
        if self._undone:
            places = self._undone.pop()
            self._strokes.append(places)
            self.locked[places] = True

    def clear(self) -> None:
        """Give all pixels back to the model."""
        self.labels[...] = self._proposed
        self.locked = np.zeros(self.labels.shape, bool)
        self._strokes.clear()
        self._undone.clear()
