"""Keep the labels set by the user apart from those proposed by the model."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoiser.segment.parts import Part

STROKES_KEPT = 100
"""As many strokes as napari can undo."""

Places = tuple[np.ndarray, ...]


class Edits:
    """Keeps what the user paints apart from what the model proposes.

    A pixel is locked once the user has set it, by whatever means; proposals
    only change other pixels.

    Parameters
    ----------
    labels
        (..., H, W) unsigned integers: the array that is shown and painted on;
        it is changed in place.

    Attributes
    ----------
    locked
        (..., H, W) bool: pixels set by the user.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels
        self.locked = np.zeros(labels.shape, bool)
        self._proposed = labels.copy() if labels.any() else np.zeros(labels.shape, np.uint8)
        # the pixels that each stroke locked, as index arrays, for undo and redo
        self._strokes: deque[Places] = deque(maxlen=STROKES_KEPT)
        self._undone: deque[Places] = deque(maxlen=STROKES_KEPT)

    def propose(self, part: Part, labels: np.ndarray) -> None:
        """Show the model's labels (h, w) of a part on all pixels that are not locked."""
        # edits that were not reported, by a script for example, are locked before they are lost
        self.notice(part)
        self._proposed[part.key] = labels
        shown = self.labels[part.key]
        np.copyto(shown, labels, where=~self.locked[part.key])

    def notice(self, part: Part, touched: np.ndarray | None = None) -> Places:
        """Lock the pixels that the user has changed in a part since the last call.

        Parameters
        ----------
        part
            The part to compare.
        touched
            (h, w) bool: painted pixels, including those that already had the
            label and so did not change.

        Returns
        -------
        tuple of ndarray
            The newly locked pixels, as one index array per axis.
        """
        changed = self.labels[part.key] != self._proposed[part.key]
        if touched is not None:
            changed |= touched
        changed &= ~self.locked[part.key]
        # from the part's coordinates to those of all labels, with the plane's numbers in front
        rows, columns = np.nonzero(changed)
        leading = (np.full(len(rows), number) for number in part.plane)
        places = (*leading, rows + part.rows.start, columns + part.columns.start)
        self.locked[places] = True
        return places

    def end_stroke(self, painted: Sequence[tuple[Part, np.ndarray]]) -> None:
        """Record a stroke, which can be undone as one: its parts and pixels, see `notice`."""
        places = [self.notice(part, touched) for part, touched in painted]
        self._strokes.append(tuple(np.concatenate(axis) for axis in zip(*places, strict=True)))
        self._undone.clear()

    def undo(self) -> None:
        """Follow an undo: reset the pixels locked by the stroke to the model's latest labels."""
        if self._strokes:
            places = self._strokes.pop()
            self._undone.append(places)
            self.locked[places] = False
            # napari restored the labels at the time of the stroke, which may be outdated
            self.labels[places] = self._proposed[places]

    def redo(self) -> None:
        """Follow a redo, for which napari has painted again."""
        if self._undone:
            places = self._undone.pop()
            self._strokes.append(places)
            self.locked[places] = True

    def clear(self) -> None:
        """Reset all pixels to the model's labels."""
        self.labels[...] = self._proposed
        self.locked = np.zeros(self.labels.shape, bool)
        self._strokes.clear()
        self._undone.clear()
