"""The prompt table as a person uses it: mouse, keys, dialogs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QGuiApplication
from qtpy.QtWidgets import (
    QAbstractItemDelegate,
    QCheckBox,
    QColorDialog,
    QFileDialog,
    QLineEdit,
    QPushButton,
    QTableView,
)

from dinoiser.prompts import PromptSet
from napari_dinoiser.prompts.table import PromptTable
from napari_dinoiser.prompts.table_model import Column

KEY = Qt.Key


class Driver:
    """Mouse and keyboard at a shown table, and a record of what it told."""

    def __init__(self, qtbot, viewer=None) -> None:
        self.bot = qtbot
        self.table = PromptTable()
        if viewer is None:
            qtbot.addWidget(self.table)
        else:
            viewer.window.add_dock_widget(self.table)
        self.table.resize(320, 480)
        with qtbot.waitExposed(self.table):
            self.table.show()
        self.view = self.table.findChild(QTableView, "prompt_table")
        self.box = self.table.findChild(QCheckBox, "background")
        assert self.box.isChecked()  # from the start, so that not everything is one of the classes
        self.box.setChecked(False)
        self.told: list[str] = []
        self.table.prompts_changed.connect(lambda: self.told.append("prompts"))
        self.table.looks_changed.connect(lambda: self.told.append("looks"))
        self.table.selection_changed.connect(lambda: self.told.append("selection"))

    def press(self, name: str) -> None:
        self.bot.mouseClick(self.table.findChild(QPushButton, name), Qt.MouseButton.LeftButton)

    def click(self, row: int, column: Column) -> None:
        """Click into a cell, where its checkbox would be."""
        rect = self.view.visualRect(self.view.model().index(row, column))
        left = rect.center()
        left.setX(rect.left() + 9)
        self.bot.mouseClick(self.view.viewport(), Qt.MouseButton.LeftButton, pos=left)

    def editor(self) -> QLineEdit | None:
        return next(iter(self.view.viewport().findChildren(QLineEdit)[-1:]), None)

    def type(self, text: str, key: Qt.Key | None = None) -> None:
        """Type into the open editor, or into the table if there is none."""
        target = self.editor() or self.view
        self.bot.keyClicks(target, text)
        if key is not None:
            self.bot.keyClick(target, key)
            self.bot.wait(1)  # Qt closes the editor a moment later

    def paste(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.bot.keyClick(self.view, KEY.Key_V, Qt.KeyboardModifier.ControlModifier)

    def write(self, row: int, column: Column, text: str) -> bool:
        return self.view.model().setData(self.view.model().index(row, column), text)

    @property
    def names(self) -> list[str]:
        model = self.view.model()
        return [model.index(row, Column.NAME).data() for row in range(model.rowCount())]

    def load(self, text: str) -> None:
        self.table.set_prompt_set(PromptSet.parse(text))
        self.told.clear()


@pytest.fixture
def driver(qtbot) -> Driver:
    return Driver(qtbot)


@pytest.fixture
def errors(monkeypatch) -> list[str]:
    """Sentences that napari would show."""
    from napari.utils import notifications

    shown: list[str] = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    return shown


def test_a_click_elsewhere_leaves_no_blank_row(driver):
    driver.press("add_class")
    driver.type("dog", KEY.Key_Return)
    assert driver.editor() is not None  # of the next row
    # what Qt does when the editor loses the focus, which a test's window may not have
    driver.view.closeEditor(driver.editor(), QAbstractItemDelegate.EndEditHint.NoHint)
    driver.bot.waitUntil(lambda: driver.names == ["dog"])


def test_a_list_is_typed_with_enter_after_each_name(driver: Driver) -> None:
    driver.press("add_class")
    driver.type("dog", KEY.Key_Return)
    driver.type("rusted van", KEY.Key_Return)
    driver.type("", KEY.Key_Return)  # Enter in a blank row ends the list
    assert driver.table.prompt_set() == PromptSet.parse("dog, rusted van")
    assert driver.names == ["dog", "rusted van"]


def test_escape_takes_a_blank_row_away(driver: Driver) -> None:
    driver.press("add_class")
    driver.type("", KEY.Key_Escape)
    assert driver.names == []


def test_tab_goes_from_the_name_to_the_other_words(driver: Driver) -> None:
    driver.press("add_class")
    driver.type("dog", KEY.Key_Tab)
    driver.type("puppy; hound", KEY.Key_Return)
    assert driver.table.prompt_set() == PromptSet.parse("dog; puppy; hound")


def test_at_first_there_is_no_prompt_set_and_nothing_to_save_or_remove(driver: Driver) -> None:
    assert driver.table.prompt_set() is None
    assert driver.table.error() == ""
    assert driver.table.selected_id() is None
    for name in ("remove_class", "move_up", "move_down", "save_prompts"):
        assert not driver.table.findChild(QPushButton, name).isEnabled()


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda driver: driver.write(0, Column.NAME, "wolf"), ["prompts"]),
        (lambda driver: driver.write(0, Column.SYNONYMS, "puppy"), ["prompts"]),
        (lambda driver: driver.write(0, Column.ID, "9"), ["prompts"]),
        (lambda driver: driver.table.set_ignore_below(0.5), ["prompts"]),
        (lambda driver: driver.paste("grass, sky"), ["prompts"]),
        (lambda driver: driver.table.set_color(2, "tomato"), ["looks"]),
        (lambda driver: driver.click(0, Column.VISIBLE), ["looks"]),
        (lambda driver: driver.click(1, Column.NAME), ["selection"]),
        (lambda driver: driver.write(0, Column.NAME, " dog "), []),
        (lambda driver: driver.write(0, Column.ID, "nine"), []),
        (lambda driver: driver.press("add_class"), []),
    ],
)
def test_every_edit_tells_once_what_it_changed(
    driver: Driver, edit: Callable[[Driver], object], expected: list[str]
) -> None:
    driver.load("dog, cat")
    edit(driver)
    assert driver.told == expected


def test_the_background_is_switched_by_its_box(driver: Driver) -> None:
    driver.load("dog")
    driver.box.click()
    assert driver.table.prompt_set() == PromptSet.parse("background, dog")
    driver.box.click()
    assert driver.table.prompt_set() == PromptSet.parse("dog")
    assert driver.told == 2 * ["prompts"]


def test_a_loaded_set_with_background_ticks_the_box(driver: Driver) -> None:
    driver.load("background, dog")
    assert driver.box.isChecked()
    assert driver.names == ["dog"]


def test_a_click_on_its_box_hides_a_class_and_another_shows_it(driver: Driver) -> None:
    driver.load("dog, cat")
    driver.click(1, Column.VISIBLE)
    assert driver.table.visible_ids() == {1}
    driver.click(1, Column.VISIBLE)
    assert driver.table.visible_ids() == {1, 2}


def test_a_click_on_a_swatch_chooses_its_colour(driver: Driver, monkeypatch) -> None:
    driver.load("dog, cat")
    asked, new = [], QColor("#ff00ff")
    monkeypatch.setattr(QColorDialog, "getColor", lambda old, *_: asked.append(old.name()) or new)
    before = driver.table.prompt_set().by_name("cat").color
    driver.click(1, Column.COLOR)
    assert asked == [before]
    assert driver.table.prompt_set().by_name("cat").color == "#ff00ff"
    rect = driver.view.visualRect(driver.view.model().index(1, Column.COLOR))
    shot = driver.view.viewport().grab().toImage()
    assert shot.pixelColor(rect.center() * shot.devicePixelRatio()).name() == "#ff00ff"


def test_a_closed_colour_dialog_changes_nothing(driver: Driver, monkeypatch) -> None:
    driver.load("dog")
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())
    driver.click(0, Column.COLOR)
    assert driver.table.prompt_set() == PromptSet.parse("dog")


@pytest.mark.parametrize("key", [KEY.Key_Delete, None])
def test_selected_rows_are_removed_and_the_others_keep_their_ids(driver: Driver, key) -> None:
    driver.load("dog, cat, grass")
    driver.click(1, Column.NAME)
    driver.bot.keyClick(driver.view, key) if key else driver.press("remove_class")
    assert [(item.name, item.id) for item in driver.table.prompt_set().classes] == [
        ("dog", 1),
        ("grass", 3),
    ]


def test_rows_are_moved_and_stay_selected(driver: Driver) -> None:
    driver.load("dog, cat, grass")
    driver.click(2, Column.NAME)
    driver.press("move_up")
    driver.press("move_up")
    assert driver.names == ["grass", "dog", "cat"]
    assert driver.table.selected_id() == 3
    assert not driver.table.findChild(QPushButton, "move_up").isEnabled()
    driver.press("move_down")
    assert driver.names == ["dog", "grass", "cat"]


def test_a_mistake_is_said_under_the_table_until_it_is_mended(driver: Driver) -> None:
    driver.load("dog, cat")
    driver.write(1, Column.NAME, "dog")
    note = driver.table.findChild(object, "prompt_note")
    assert driver.table.prompt_set() is None
    assert "'dog' has the same name as class 'dog'" in driver.table.error()
    assert note.isVisible()
    assert note.text() == driver.table.error()
    driver.write(1, Column.NAME, "sheep")
    assert driver.table.error() == ""
    assert not note.isVisible()
    assert driver.told == ["prompts", "prompts"]


def test_a_doubtful_phrase_is_noted_and_still_looked_for(driver: Driver) -> None:
    driver.load("tree, trees")
    note = driver.table.findChild(object, "prompt_note").text()
    assert note == driver.table.prompt_set().warnings[0]
    assert driver.table.error() == ""


def test_a_list_typed_as_a_name_is_noted(driver: Driver) -> None:
    driver.load("dog")
    driver.write(0, Column.NAME, "circle, blue,")
    note = driver.table.findChild(object, "prompt_note")
    assert note.text() == "“circle, blue,” is one class; give each a row of its own"
    assert driver.table.prompt_set().names[-1] == "circle, blue,"
    driver.write(0, Column.NAME, "circle")
    assert not note.isVisible()


def test_lines_pasted_into_an_open_editor_become_classes(driver: Driver) -> None:
    driver.press("add_class")
    QGuiApplication.clipboard().setText("dog\ncat\nrusted van")
    driver.bot.keyClick(driver.editor(), KEY.Key_V, Qt.KeyboardModifier.ControlModifier)
    assert driver.table.prompt_set() == PromptSet.parse("dog, cat, rusted van")


def test_pasting_leaves_the_selected_class_selected(driver: Driver) -> None:
    driver.load("dog, cat")
    driver.click(1, Column.NAME)
    driver.paste("grass\nsky")
    assert driver.table.selected_id() == 2
    assert driver.names == ["dog", "cat", "grass", "sky"]


def test_a_damaged_prompt_file_is_refused_with_a_sentence(
    driver: Driver, errors: list[str]
) -> None:
    driver.load("dog")
    driver.paste("version: 2\nclasses:\n - {name: cat}")
    assert len(errors) == 1
    assert "the pasted text, line 1: version is '2'" in errors[0]
    assert driver.table.prompt_set() == PromptSet.parse("dog")


def test_what_is_saved_is_loaded_again(driver: Driver, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "prompts.yaml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    driver.load("background, dog; puppy, van=rusted van")
    driver.table.set_color(1, "tomato")
    driver.table.set_ignore_below(0.25)
    saved = driver.table.prompt_set()
    driver.press("save_prompts")
    driver.load("cat")
    driver.press("load_prompts")
    assert driver.table.prompt_set() == saved
    assert driver.table.ignore_below() == 0.25


@pytest.mark.parametrize("button", ["load_prompts", "save_prompts"])
def test_a_file_that_cannot_be_used_is_said_and_changes_nothing(
    driver: Driver, tmp_path: Path, monkeypatch, errors: list[str], button: str
) -> None:
    path = tmp_path / "no such folder" / "prompts.yaml"
    for name in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, name, lambda *_: (str(path), ""))
    driver.load("dog")
    driver.press(button)
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert driver.table.prompt_set() == PromptSet.parse("dog")


def test_napari_takes_no_key_away_from_the_table(qtbot, make_napari_viewer) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_labels(np.eye(2, dtype=int))
    driver = Driver(qtbot, viewer)
    driver.view.setFocus()
    driver.paste("dog\ncat")
    driver.click(0, Column.NAME)
    driver.bot.keyClick(driver.view, KEY.Key_Delete)
    driver.click(0, Column.NAME)
    driver.bot.keyClick(driver.view, KEY.Key_Return)
    driver.type("van", KEY.Key_Return)
    assert driver.table.prompt_set().names == ("cat", "van")
    assert len(viewer.layers) == 1
