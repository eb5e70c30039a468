"""The prompt table's view: keys, colour swatches, and a hint when it is empty."""

from __future__ import annotations

from qtpy.QtCore import QAbstractItemModel, QEvent, QModelIndex, QObject, QRect, Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication, QKeyEvent, QKeySequence, QMouseEvent, QPainter
from qtpy.QtWidgets import (
    QAbstractItemDelegate,
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_dinoiser.prompts.table_model import Column

WIDTHS = {Column.VISIBLE: 40, Column.COLOR: 48, Column.NAME: 110, Column.ID: 34}
ROW_HEIGHT = 24
EMPTY = "Press + and type what to look for, or paste a list of classes here."
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_DELETE = (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)


class PromptView(QTableView):
    """Shows the prompt table; emits signals for keys and clicks, and changes nothing itself.

    Parameters
    ----------
    model
        The table model.
    parent
        Parent widget.
    """

    row_wanted = Signal()
    removal_wanted = Signal()
    paste_wanted = Signal()
    color_wanted = Signal(int)
    """Emitted with the index of the row."""
    cell_closed = Signal(bool)
    """Emitted when the keyboard closes the editor: True by Enter, False by Escape."""

    def __init__(self, model: QAbstractItemModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setModel(model)
        self.setItemDelegate(PromptDelegate(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(
            triggers.DoubleClicked | triggers.EditKeyPressed | triggers.AnyKeyPressed
        )
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)  # Tab goes on to the next control; arrows move in here
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(24)
        for column, width in WIDTHS.items():
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            self.setColumnWidth(column, width)
        header.setSectionResizeMode(Column.NAME, QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(Column.SYNONYMS, QHeaderView.ResizeMode.Stretch)
        self.clicked.connect(self._on_click)

    def event(self, event: QEvent) -> bool:
        """Give the table's keys precedence over the window's shortcuts."""
        # accepting the override keeps napari's shortcuts, such as Delete, from firing
        if event.type() == QEvent.Type.ShortcutOverride and _is_own_key(event):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Paste, remove rows, or continue with a new row."""
        if self.state() == QAbstractItemView.State.EditingState:
            super().keyPressEvent(event)
        elif event.matches(QKeySequence.StandardKey.Paste):
            self.paste_wanted.emit()
        elif event.key() in _DELETE:
            self.removal_wanted.emit()
        elif event.key() in _ENTER:
            self._enter()
        else:
            super().keyPressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Add a row on a double click below the last one."""
        if self.rowAt(event.pos().y()) < 0:
            self.row_wanted.emit()
        else:
            super().mouseDoubleClickEvent(event)

    def closeEditor(self, editor: QWidget, hint: QAbstractItemDelegate.EndEditHint) -> None:
        """Close a cell's editor and emit how it was closed."""
        super().closeEditor(editor, hint)
        hints = QAbstractItemDelegate.EndEditHint
        # only Enter and Escape: Tab and a click elsewhere close the editor in other ways
        if hint in (hints.SubmitModelCache, hints.RevertModelCache):
            self.cell_closed.emit(hint == hints.SubmitModelCache)
        elif hint == hints.NoHint:  # a click elsewhere, which must not leave a blank row
            self.cell_closed.emit(False)

    def paintEvent(self, event: QEvent) -> None:
        """Show a hint while there are no rows."""
        super().paintEvent(event)
        if self.model().rowCount() == 0:
            painter = QPainter(self.viewport())
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.setPen(self.horizontalHeader().palette().text().color())
            painter.drawText(self.viewport().rect().adjusted(12, 12, -12, -12), int(flags), EMPTY)
            painter.end()

    def _enter(self) -> None:
        """Edit the current cell; in the last row, continue with a new one."""
        if self.currentIndex().row() == self.model().rowCount() - 1:
            self.row_wanted.emit()
        else:
            self.edit(self.currentIndex())

    def _on_click(self, index: QModelIndex) -> None:
        if index.column() == Column.COLOR:
            self.color_wanted.emit(index.row())


class PromptDelegate(QStyledItemDelegate):
    """Draws colour swatches, and forwards a list pasted into a name to the table."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw a cell."""
        super().paint(painter, option, index)
        color = index.data(Qt.ItemDataRole.UserRole)
        if isinstance(color, QColor):
            side = min(option.rect.width(), option.rect.height()) - 10
            swatch = QRect(0, 0, side, side)
            swatch.moveCenter(option.rect.center())
            painter.fillRect(swatch, color)

    def eventFilter(self, editor: QObject, event: QEvent) -> bool:
        """Handle a paste of several lines, as the editor holds only one."""
        view = self.parent()
        pasted = event.type() == QEvent.Type.KeyPress and event.matches(
            QKeySequence.StandardKey.Paste
        )
        lines = QGuiApplication.clipboard().text().strip().splitlines() if pasted else []
        if len(lines) > 1 and view.currentIndex().column() == Column.NAME:
            self.closeEditor.emit(editor, QAbstractItemDelegate.EndEditHint.RevertModelCache)
            view.paste_wanted.emit()
            return True
        return super().eventFilter(editor, event)


def _is_own_key(event: QKeyEvent) -> bool:
    return event.matches(QKeySequence.StandardKey.Paste) or event.key() in (*_ENTER, *_DELETE)
