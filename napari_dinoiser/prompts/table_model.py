"""The prompt rows as a Qt table model."""

from __future__ import annotations

from enum import IntEnum
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, Signal
from qtpy.QtGui import QColor

if TYPE_CHECKING:
    from collections.abc import Collection

    from dinoiser.prompts import PromptSet
    from napari_dinoiser.prompts.rows import PromptRow, PromptRows


class Column(IntEnum):
    """The columns of the table."""

    VISIBLE = 0
    COLOR = 1
    NAME = 2
    SYNONYMS = 3
    ID = 4


TITLES = {
    Column.VISIBLE: "show",
    Column.COLOR: "colour",
    Column.NAME: "class",
    Column.SYNONYMS: "also called",
    Column.ID: "id",
}
HELP = {
    Column.VISIBLE: "Show this class in the image",
    Column.COLOR: "Colour in the image: click to change it",
    Column.NAME: "What to look for, and the name of the class in results",
    Column.SYNONYMS: (
        "Other words for the same class, separated by semicolons: puppy; hound. "
        "To look for other words than the name, begin with only: as in only: rusted van; lorry. "
        "Put words that contain a comma or semicolon in quotation marks."
    ),
    Column.ID: "The number of this class in the saved masks, 1 to 65534",
}
BACKGROUND = {
    "objectness": "Leave pixels unlabelled that do not look like an object",
    "threshold": "Leave pixels unlabelled that resemble none of the classes",
    "class": "Leave pixels unlabelled that match the word background best",
}
"""Explains what the background means to a model, see `dinoiser.models.base.Scoring`."""


class PromptTableModel(QAbstractTableModel):
    """Shows `PromptRows` as a table and forwards edits to them.

    Parameters
    ----------
    rows
        The rows; edit them only through this model.
    parent
        Parent object.
    """

    edited = Signal()

    def __init__(self, rows: PromptRows, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._prompts = rows

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count the rows."""
        return 0 if parent is not None and parent.isValid() else len(self._prompts.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Count the columns."""
        return 0 if parent is not None and parent.isValid() else len(Column)

    def row(self, index: int) -> PromptRow | None:
        """Return the row at an index, None if there is none."""
        rows = self._prompts.rows
        return rows[index] if 0 <= index < len(rows) else None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return a column's title or tooltip."""
        if orientation == Qt.Orientation.Vertical:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"<qt>{HELP[Column(section)]}</qt>"
        return TITLES.get(Column(section)) if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        row, column = self._prompts.rows[index.row()], Column(index.column())
        text = {Column.NAME: row.name, Column.SYNONYMS: row.synonyms, Column.ID: str(row.id)}
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return text.get(column)
        if role == Qt.ItemDataRole.ToolTipRole:  # shows the text, which may be cut off
            words = text.get(column) if column in (Column.NAME, Column.SYNONYMS) else None
            return f"<qt>{escape(words) if words else HELP[column]}</qt>"
        if role == Qt.ItemDataRole.UserRole and column is Column.COLOR:
            return QColor(row.color)
        if role == Qt.ItemDataRole.CheckStateRole and column is Column.VISIBLE:
            return Qt.CheckState.Checked if row.visible else Qt.CheckState.Unchecked
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return what can be done with a cell."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == Column.VISIBLE:
            return flags | Qt.ItemFlag.ItemIsUserCheckable
        return flags if index.column() == Column.COLOR else flags | Qt.ItemFlag.ItemIsEditable

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Set a cell; return False if the value is not allowed."""
        row, column = self._prompts.rows[index.row()], Column(index.column())
        if column is Column.VISIBLE and role == Qt.ItemDataRole.CheckStateRole:
            row.visible = Qt.CheckState(value) != Qt.CheckState.Unchecked
        elif role != Qt.ItemDataRole.EditRole:
            return False
        elif column is Column.NAME:
            row.name = str(value)
        elif column is Column.SYNONYMS:
            row.synonyms = str(value)
        elif column is Column.ID and str(value).strip().isdecimal():
            row.id = int(value)
        else:
            return False
        self.dataChanged.emit(index, index)
        self.edited.emit()
        return True

    def append(self) -> None:
        """Add a blank row at the end."""
        place = self.rowCount()
        self.beginInsertRows(QModelIndex(), place, place)
        self._prompts.rows.append(self._prompts.new_row())
        self.endInsertRows()
        self.edited.emit()

    def remove(self, indices: Collection[int]) -> None:
        """Remove rows."""
        for index in sorted(indices, reverse=True):
            self.beginRemoveRows(QModelIndex(), index, index)
            self._prompts.remove([index])
            self.endRemoveRows()
        self.edited.emit()

    def move(self, index: int, target: int) -> None:
        """Move a row to another index; do nothing if either does not exist."""
        if self.row(index) is None or self.row(target) is None or index == target:
            return
        # Qt counts the target before the row is removed
        place = target + (target > index)
        self.beginMoveRows(QModelIndex(), index, index, QModelIndex(), place)
        self._prompts.move(index, target)
        self.endMoveRows()
        self.edited.emit()

    def load(self, prompts: PromptSet) -> None:
        """Show another prompt set."""
        self.beginResetModel()
        self._prompts.load(prompts)
        self.endResetModel()
        self.edited.emit()

    def paste(self, text: str) -> None:
        """Add classes from the clipboard's text, see `PromptRows.paste`.

        Raises
        ------
        PromptError
            If the text is a prompt file with errors.
        """
        self.beginResetModel()
        try:
            self._prompts.paste(text)
        finally:
            self.endResetModel()
        self.edited.emit()

    def set_color(self, class_id: int, color: str) -> None:
        """Set the colour of a class, see `PromptRows.set_color`.

        Raises
        ------
        PromptError
            If no row has this id, or the colour is unknown.
        """
        self._prompts.set_color(class_id, color)
        if self.rowCount():
            last = self.index(self.rowCount() - 1, Column.COLOR)
            self.dataChanged.emit(self.index(0, Column.COLOR), last)
        self.edited.emit()
