"""The queue as a list with the state of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtWidgets import QListView

if TYPE_CHECKING:
    from napari_dinoiser.review.review_session import ReviewSession

MARKS = {"unchecked": "·", "accepted": "✓", "rejected": "✗"}
CORRECTED = "✎"
LEAST_HEIGHT = 70
"""Height in screen pixels that the list asks for; it takes what room there is."""


class QueueList(QListView):
    """Lists the images in review order; a click opens one.

    It never takes the focus, so that keys still work after a click.
    """

    chosen = Signal(int)
    """Emitted with the position of a clicked image."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("queue_list")
        self.setToolTip(
            "The images in this order; click one to open it: ✓ accepted, ✎ corrected, ✗ rejected"
        )
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setUniformItemSizes(True)  # tens of thousands of rows open at once
        self.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self._rows = _QueueModel(self)
        self.setModel(self._rows)
        self.clicked.connect(lambda index: self.chosen.emit(index.row()))

    def sizeHint(self) -> QSize:
        """Ask for little, so that what is below stays in view on small screens."""
        return QSize(super().sizeHint().width(), LEAST_HEIGHT)

    def show_session(self, session: ReviewSession) -> None:
        """Show a review's queue and where it stands."""
        self._rows.show_session(session)
        index = self._rows.index(session.position)
        self.setCurrentIndex(index)
        self.scrollTo(index)


class _QueueModel(QAbstractListModel):
    """The rows, described when they come into view."""

    _session: ReviewSession | None = None
    _queue: Any = None

    def show_session(self, session: ReviewSession) -> None:
        if self._queue is session.queue:
            last = self.index(self.rowCount() - 1)
            self.dataChanged.emit(self.index(0), last)
            return
        self.beginResetModel()
        self._session, self._queue = session, session.queue
        self.endResetModel()

    def rowCount(self, _: QModelIndex | None = None) -> int:
        return len(self._queue) if self._queue else 0

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self._session is None or not index.isValid():
            return None
        image = self._queue[index.row()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return image.image
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        review = self._session.review_of(image)
        corrected = review.edited and review.state != "rejected"
        mark = CORRECTED if corrected else MARKS[review.state]
        expected = "" if image.expected_iou is None else f"{image.expected_iou:.2f}  "
        return f"{mark}  {expected}{image.image}"
