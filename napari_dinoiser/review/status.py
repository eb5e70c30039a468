"""The progress of a review, and facts about the current image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_dinoiser.review.named import named

if TYPE_CHECKING:
    from napari_dinoiser.review.review_session import Counts, ReviewSession

COLORS = {"accepted": "#3f9d66", "corrected": "#4a86c8", "rejected": "#c05050"}
"""Colours of the bar; what is unchecked stays grey."""
BAR_HEIGHT = 8
ELLIPSIS = 20
"""Pixels that long names leave free, for the ellipsis and napari's padding of labels."""


class StateBar(QWidget):
    """A bar whose colours say what came of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(BAR_HEIGHT)
        self._shares: dict[str, float] = {}

    def show_counts(self, counts: Counts, total: int) -> None:
        """Show how many of all images were accepted as they were, corrected and rejected."""
        accepted = counts.checked - counts.corrected - counts.rejected
        parts = {"accepted": accepted, "corrected": counts.corrected, "rejected": counts.rejected}
        self._shares = {name: count / total for name, count in parts.items()}
        self.update()

    def paintEvent(self, _: Any) -> None:
        """Draw the shares side by side."""
        painter, left = QPainter(self), 0.0
        painter.fillRect(self.rect(), QColor("#808080"))
        for name, share in self._shares.items():
            width = share * self.width()
            painter.fillRect(QRectF(left, 0, width, self.height()), QColor(COLORS[name]))
            left += width
        painter.end()


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
        tip = "Green: accepted as it was; blue: corrected; red: rejected; grey: not checked"
        self._bar = named(StateBar(), "progress_bar", tip)
        self._image = named(QElidingLabel(), "image", "The image")
        self._image.setElideMode(Qt.TextElideMode.ElideMiddle)
        self._image.setEllipsesWidth(ELLIPSIS)
        tip = "Position in the queue, how good the mask probably is (1: perfect), and decision"
        self._state = named(QLabel(), "state", tip)
        self.message = named(QLabel(), "message", "Messages about the image")
        self.message.setWordWrap(True)
        first = QHBoxLayout()
        first.addWidget(self._progress)
        first.addWidget(self._bar, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(first)
        layout.addWidget(self._image)
        layout.addWidget(self._state)
        self.clear()

    def clear(self, message: str = "") -> None:
        """Show that no job is open."""
        self._progress.setText("Open the output folder of a job to review it.")
        self._bar.hide()
        for label, text in ((self._image, ""), (self._state, ""), (self.message, message)):
            label.setText(text)

    def show_session(self, session: ReviewSession, message: str = "") -> None:
        """Show the state of a review, with a message or else what is special about the image."""
        counts = session.counts
        self._progress.setText(f"{counts.checked:,} of {session.total:,} checked")
        self._bar.show_counts(counts, session.total)
        self._bar.show()
        name = session.labelled.image if session.labelled else ""
        self._image.setText(name)
        self._image.setToolTip(name)
        self._state.setText(_describe(session))
        self.message.setText(message or _explain(session))


def _describe(session: ReviewSession) -> str:
    """Describe the image's position in the queue, how good it probably is, and the decision."""
    labelled, review = session.labelled, session.review()
    if labelled is None or review is None:
        return ""
    expected = labelled.expected_iou
    parts = [
        f"{session.position + 1:,} of {len(session.queue):,}",
        "all ignored" if expected is None else f"expected IoU {expected:.2f}",
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
            "These corrections were not saved when napari ended or the job's words changed. They "
            "are saved when you move on; Revert restores the saved mask."
        )
    return ""
