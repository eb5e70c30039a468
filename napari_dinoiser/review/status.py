"""The progress of a review, and facts about the current image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_dinoiser.review.queue import named

if TYPE_CHECKING:
    from napari_dinoiser.review.review_session import ReviewSession

ELLIPSIS = 20
"""Pixels that long names leave free, for the ellipsis and napari's padding of labels."""


class ReviewStatus(QWidget):
    """Shows the progress of a review, the current image, and messages about it.

    Attributes
    ----------
    message
        A label that the caller lays out: it grows and shrinks, so it must be
        where this does not move any buttons.
    """

    def __init__(self) -> None:
        super().__init__()
        self._progress = named(QLabel(), "progress", "Share of the job that is checked")
        self._bar = named(QProgressBar(), "progress_bar", "Share of the job that is checked")
        self._bar.setTextVisible(False)
        self._image = named(QElidingLabel(), "image", "The image")
        self._image.setElideMode(Qt.TextElideMode.ElideMiddle)
        self._image.setEllipsesWidth(ELLIPSIS)
        tip = "Position in the queue, mean confidence of the model, and decision"
        self._state = named(QLabel(), "state", tip)
        self.message = named(QLabel(), "message", "Messages about the image")
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
        """Show the state of a review, with a message or else what is special about the image."""
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
    """Describe the image's position in the queue, the model's certainty, and the decision."""
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
    """Return what is special about the image, if anything."""
    if session.problem:
        return session.problem
    if session.current is None:
        return "All images are checked."
    if session.current.recovered:
        return (
            "These corrections were not saved when napari ended. They are saved when you move on; "
            "Revert restores the saved mask."
        )
    return ""
