"""A text field for a folder, which may also be dropped on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QLineEdit


class FolderLine(QLineEdit):
    """A text field in which a dropped folder counts as typed, with Enter."""

    def dragEnterEvent(self, event: Any) -> None:
        """Accept a folder, or else what text fields accept."""
        if _folder_of(event):
            event.acceptProposedAction()
        else:
            super().dragEnterEvent(event)

    def dragMoveEvent(self, event: Any) -> None:
        """Accept a folder, or else what text fields accept."""
        if _folder_of(event):
            event.acceptProposedAction()
        else:
            super().dragMoveEvent(event)

    def dropEvent(self, event: Any) -> None:
        """Take a folder's path; a text field would take its address, file:///..."""
        if folder := _folder_of(event):
            event.acceptProposedAction()
            self.setText(folder)
            self.returnPressed.emit()
        else:
            super().dropEvent(event)


def _folder_of(event: Any) -> str:
    """Return the path of the one folder that is dragged; empty if something else is."""
    urls = event.mimeData().urls()
    path = urls[0].toLocalFile() if len(urls) == 1 else ""
    return path if path and Path(path).is_dir() else ""
