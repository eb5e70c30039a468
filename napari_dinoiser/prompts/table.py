"""The prompt table: the classes to look for, one per row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari.utils import notifications
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from dinoiser.errors import DinoiserError, PromptError
from dinoiser.prompts import PromptSet
from napari_dinoiser.prompts.rows import PromptRows
from napari_dinoiser.prompts.table_model import BACKGROUND, Column, PromptTableModel
from napari_dinoiser.prompts.table_view import PromptView

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from napari_dinoiser.prompts.rows import PromptRow

FILE_FILTER = "Prompt files (*.yaml *.yml);;All files (*)"
ERROR_COLOR = "#e0554a"  # readable on napari's light and dark background
BUTTONS = (
    ("add_class", "+", "Add a class (or press Enter in the last row)"),
    ("remove_class", "−", "Remove the selected classes (Delete)"),
    ("move_up", "↑", "Move the selected class up"),
    ("move_down", "↓", "Move the selected class down"),
    ("load_prompts", "Load…", "Load a prompt file, replacing this table"),
    ("save_prompts", "Save…", "Save this table as a prompt file"),
)


class _State(NamedTuple):
    """A snapshot of the table's content."""

    prompts: PromptSet | None
    error: str
    visible: frozenset[int]

    @property
    def words(self) -> tuple[object, ...]:
        """Everything that affects which pixel gets which label."""
        if self.prompts is None:
            return (self.error,)
        classes = {(item.name, item.id, item.phrases) for item in self.prompts.classes}
        return classes, self.prompts.templates, self.prompts.ignore_below


class PromptTable(QWidget):
    """A table of classes with buttons to edit, load and save it.

    Parameters
    ----------
    parent
        Parent widget.

    Attributes
    ----------
    may_remove
        Asked before the user removes rows.
    """

    prompts_changed = Signal()
    """Emitted if labels change: a name, phrase, id or the threshold is different."""
    looks_changed = Signal()
    """Emitted if only the display changes: a colour, the visible classes or the order."""
    selection_changed = Signal()
    """Emitted when `selected_id` changes."""
    loaded = Signal(str)
    saved = Signal(str)
    """Emitted with the path after the table was loaded from a prompt file, or saved to one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.may_remove: Callable[[Sequence[PromptRow]], bool] = lambda rows: True
        # without it, every pixel would be one of the classes, however unlike
        self._rows = PromptRows(background=True)
        self._model = PromptTableModel(self._rows, self)
        self._view = self._create_view()
        self._buttons = {name: self._create_button(name, *texts) for name, *texts in BUTTONS}
        self._background = QCheckBox("background: everything else")
        self._background.setObjectName("background")
        self.explain_background("objectness")
        self._note = QLabel()
        self._note.setObjectName("prompt_note")
        self._note.setWordWrap(True)
        self._note.setTextFormat(Qt.TextFormat.PlainText)
        self._state = _State(None, "", frozenset())
        self._selected: int | None = None
        self._lay_out()
        self._connect()
        self._update()

    def prompt_set(self) -> PromptSet | None:
        """Return the prompt set; None while there are no classes or an error, see `error`."""
        return self._state.prompts

    def set_prompt_set(self, prompts: PromptSet) -> None:
        """Show a prompt set, replacing everything."""
        self._model.load(prompts)

    def rows(self) -> list[PromptRow]:
        """Return the rows, also blank ones and those with errors."""
        return list(self._rows.rows)

    def reserve(self, ids: Callable[[], Collection[int]]) -> None:
        """Never give new classes the ids that a function returns."""
        self._rows.reserved = ids

    def error(self) -> str:
        """Return what is wrong in the table; empty if nothing is."""
        return self._state.error

    def visible_ids(self) -> set[int]:
        """Return the ids of the classes to show, without 0, the background."""
        return set(self._state.visible)

    def selected_id(self) -> int | None:
        """Return the id of the selected class, the last of several; None if none is selected."""
        row = self._model.row(self._selected_row())
        return None if row is None or row.blank else row.id

    def set_color(self, class_id: int, color: str) -> None:
        """Set the colour of a class.

        Parameters
        ----------
        class_id
            Its id; 0 is the background.
        color
            ``#rrggbb``, ``#rgb`` or a CSS name.

        Raises
        ------
        PromptError
            If no class has this id, or the colour is unknown.
        """
        self._model.set_color(class_id, color)

    def explain_background(self, kind: str) -> None:
        """Explain what the background means to a model, see `dinoiser.models.base.Scoring`."""
        self._background.setToolTip(BACKGROUND[kind])

    def ignore_below(self) -> float:
        """Return the confidence, at least 0 and below 1, below which pixels are ignored."""
        return self._rows.ignore_below

    def set_ignore_below(self, confidence: float) -> None:
        """Ignore pixels with a lower confidence, at least 0 and below 1."""
        self._rows.ignore_below = confidence
        self._update()

    def _create_view(self) -> PromptView:
        view = PromptView(self._model, self)
        view.setObjectName("prompt_table")
        view.setToolTip("The classes to look for, one per row; you can paste a list (Ctrl+V)")
        view.setMinimumHeight(120)
        return view

    def _create_button(self, name: str, text: str, tooltip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setToolTip(tooltip)
        if len(text) == 1:
            button.setFixedWidth(28)
        return button

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.setSpacing(2)
        for name, button in self._buttons.items():
            if name == "load_prompts":
                line.addStretch()
            line.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)
        layout.addLayout(line)
        layout.addWidget(self._background)
        layout.addWidget(self._note)

    def _connect(self) -> None:
        self._model.edited.connect(self._update)
        self._view.row_wanted.connect(self._add_class)
        self._view.cell_closed.connect(self._go_on)
        self._view.removal_wanted.connect(self._remove_classes)
        self._view.paste_wanted.connect(self._paste)
        self._view.color_wanted.connect(self._choose_color)
        selection = self._view.selectionModel()
        selection.selectionChanged.connect(self._update_selection)
        selection.currentRowChanged.connect(self._update_selection)
        self._background.toggled.connect(self._set_background)
        up, down = (lambda: self._move_class(-1)), (lambda: self._move_class(1))
        slots = (self._add_class, self._remove_classes, up, down, self._load, self._save)
        for button, slot in zip(self._buttons.values(), slots, strict=True):
            button.clicked.connect(lambda _checked, slot=slot: slot())

    def _update(self) -> None:
        """Record the table's content, show errors, and emit what changed."""
        prompts, error = None, ""
        try:
            prompts = self._rows.prompt_set()
        except PromptError as problem:
            error = str(problem)
        # compare with the snapshot before: words need new labels, colours only a new display
        before, self._state = (
            self._state,
            _State(prompts, error, frozenset(self._rows.visible_ids())),
        )
        self._background.setChecked(self._rows.background)
        self._show_note()
        self._update_selection()
        if self._state.words != before.words:
            self.prompts_changed.emit()
        elif self._state != before:
            self.looks_changed.emit()

    def _show_note(self) -> None:
        """Show the first error or likely mistake; the tooltip lists all of them."""
        prompts, error = self._state.prompts, self._state.error
        sentences = error.splitlines() or [
            *(f"“{name}” is one class; give each a row of its own" for name in self._rows.lists()),
            *(prompts.warnings if prompts else ()),
        ]
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        self._note.setText("".join(sentences[:1]) + more)
        self._note.setToolTip("\n".join(sentences))
        self._note.setStyleSheet(f"color: {ERROR_COLOR}" if error else "")
        self._note.setVisible(bool(sentences))

    def _selected_row(self) -> int:
        """Return the index of the current row, -1 if none; Qt's current row may not be selected."""
        index = self._view.currentIndex()
        return index.row() if self._view.selectionModel().isSelected(index) else -1

    def _update_selection(self, *_: object) -> None:
        row, last = self._selected_row(), self._model.rowCount() - 1
        self._buttons["remove_class"].setEnabled(row >= 0)
        self._buttons["move_up"].setEnabled(row > 0)
        self._buttons["move_down"].setEnabled(0 <= row < last)
        self._buttons["save_prompts"].setEnabled(self._state.prompts is not None)
        if self.selected_id() != self._selected:
            self._selected = self.selected_id()
            self.selection_changed.emit()

    def _add_class(self) -> None:
        """Add a row and start editing it."""
        self._model.append()
        index = self._model.index(self._model.rowCount() - 1, Column.NAME)
        self._view.setCurrentIndex(index)
        self._view.edit(index)

    def _go_on(self, entered: bool) -> None:
        """Continue with a new row after the last, or remove the last if it was left blank."""
        place = self._view.currentIndex().row()
        if place < 0 or place != self._model.rowCount() - 1:
            return
        if self._rows.rows[place].blank:
            self._model.remove([place])
        elif entered:
            self._add_class()

    def _remove_classes(self) -> None:
        places = {index.row() for index in self._view.selectionModel().selectedRows()}
        if places and self.may_remove([self._rows.rows[place] for place in sorted(places)]):
            self._model.remove(places)

    def _move_class(self, step: int) -> None:
        row = self._selected_row()
        self._model.move(row, row + step)
        self._update_selection()

    def _set_background(self, wanted: bool) -> None:
        self._rows.background = wanted
        self._update()

    def _choose_color(self, row: int) -> None:
        item = self._rows.rows[row]
        color = QColorDialog.getColor(QColor(item.color), self, f"Colour of {item.name}")
        if color.isValid():
            self._model.set_color(item.id, color.name())

    def _paste(self) -> None:
        selected = self.selected_id()
        try:
            self._model.paste(QGuiApplication.clipboard().text())
        except PromptError as error:
            notifications.show_error(str(error))
        self._select(selected)

    def _select(self, class_id: int | None) -> None:
        for row, item in enumerate(self._rows.rows):
            if item.id == class_id:
                self._view.setCurrentIndex(self._model.index(row, Column.NAME))

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load prompts", "", FILE_FILTER)
        if path:
            try:
                self.set_prompt_set(PromptSet.load(path))
                self.loaded.emit(path)
            except PromptError as error:
                notifications.show_error(str(error))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save prompts", "prompts.yaml", FILE_FILTER)
        if path and self._state.prompts is not None:
            try:
                self._state.prompts.save(path)
                self.saved.emit(path)
            except DinoiserError as error:
                notifications.show_error(str(error))
