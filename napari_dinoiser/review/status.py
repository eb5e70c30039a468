"""How far a review is, and what is known of the present image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_dinoiser.review.queue import named

if TYPE_CHECKING:
    from napari_dinoiser.review.review_session import ReviewSession

ELLIPSIS = 20
"""Pixels that long names leave free: the ellipsis, and napari's padding of labels."""


class ReviewStatus(QWidget):
    """Progress of a review, the present image, and what is to be said about it.

    Attributes
    ----------
    message
        A label that is not laid out here: it grows and shrinks, and belongs
        where nothing that is clicked moves with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._progress = named(QLabel(), "progress", "How much of the job is checked")
        self._bar = named(QProgressBar(), "progress_bar", "How much of the job is checked")
        self._bar.setTextVisible(False)
        self._image = named(QElidingLabel(), "image", "The image")
        self._image.setElideMode(Qt.TextElideMode.ElideMiddle)
        self._image.setEllipsesWidth(ELLIPSIS)
        tip = "Place in the queue, mean confidence of the model, and what was decided"
        self._state = named(QLabel(), "state", tip)
        self.message = named(QLabel(), "message", "What is out of the ordinary")
        self.message.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._progress, self._bar, self._image, self._state):
            layout.addWidget(widget)
        self.clear()

    def clear(self, message: str = "") -> None:
        """Show that no job is open."""
        self._progress.setText("Open the output folder of a job to review it.")
        self._bar.hide()
        for label, text in ((self._image, ""), (self._state, ""), (self.message, message)):
            label.setText(text)

    def show_session(self, session: ReviewSession, message: str = "") -> None:
        """Show where a review stands; the message gives way to what is known of the image."""
        self._progress.setText(f"{session.checked:,} of {session.total:,} checked")
        self._bar.show()
        self._bar.setRange(0, session.total)
        self._bar.setValue(session.checked)
        name = session.labelled.image if session.labelled else ""
        self._image.setText(name)
        self._image.setToolTip(name)
        self._state.setText(_describe(session))
        self.message.setText(message or _explain(session))


def _describe(session: ReviewSession) -> str:
    """Say where the image is in the queue, how certain the model was, and what was decided."""
    labelled, review = session.labelled, session.review()
    if labelled is None or review is None:
        return ""
    certainty = labelled.certainty
    parts = [
        f"{session.position + 1:,} of {len(session.queue):,}",
        "no confidence" if certainty is None else f"certainty {certainty:.2f}",
        review.state + (", corrected" if review.edited else ""),
    ]
    return " · ".join(parts)


def _explain(session: ReviewSession) -> str:
    """Say what is out of the ordinary about the image, if anything."""
    if session.problem:
        return session.problem
    if session.current is None:
        return "All images are checked."
    if session.current.recovered:
        return (
            "These corrections were not saved when napari ended. They are saved when you go on; "
            "Revert goes back to the saved mask."
        )
    return ""
