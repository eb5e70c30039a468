"""`/` finds a class by letters, in a window of its own."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit, QListWidget, QWidget

from dinoiser.prompts import PromptSet
from napari_dinoiser.class_search import ClassSearch

NAMES = ["background", "apple tree", "pine", "fire engine", "tree", "street", "car", "bus", "cat"]
NAMES += ["dog", "cow", "streetcar"]


@pytest.fixture
def search(qtbot):
    tab = QWidget()
    qtbot.addWidget(tab)
    tab.show()
    search = ClassSearch(tab)
    search.ask(PromptSet.from_names(NAMES))
    yield search
    tab.close()


def letters(search):
    return search.findChild(QLineEdit)


def listed(search):
    classes = search.findChild(QListWidget)
    items = [classes.item(row) for row in range(classes.count())]
    return [item.text().split("  ")[1] for item in items if not item.isHidden()]


def taken(search, qtbot, typed, *keys):
    with qtbot.waitSignal(search.label_chosen) as chosen:
        QTest.keyClicks(letters(search), typed)
        for key in (*keys, Qt.Key.Key_Return):
            QTest.keyClick(letters(search), key)
    return NAMES[chosen.args[0]]


def test_letters_leave_the_names_that_contain_them(search):
    assert listed(search) == [*NAMES, "ignore"]
    QTest.keyClicks(letters(search), "Tre")
    assert listed(search) == ["apple tree", "tree", "street", "streetcar"]
    QTest.keyClicks(letters(search), "x")
    assert listed(search) == []


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("tre", "tree"),  # it begins with the letters, which comes before a word within a name
        ("eng", "fire engine"),
        ("car", "car"),
        ("tcar", "streetcar"),
    ],
)
def test_enter_takes_the_best_match_also_of_classes_without_a_digit(search, qtbot, typed, name):
    assert taken(search, qtbot, typed) == name
    assert not search.isVisible()


def test_arrows_go_through_what_is_listed(search, qtbot):
    assert taken(search, qtbot, "tre", Qt.Key.Key_Down, Qt.Key.Key_Down) == "streetcar"


def test_enter_without_a_match_takes_nothing_and_escape_closes(search, qtbot):
    with qtbot.assertNotEmitted(search.label_chosen, wait=100):
        QTest.keyClicks(letters(search), "zebra")
        QTest.keyClick(letters(search), Qt.Key.Key_Return)
        assert search.isVisible()
        QTest.keyClick(search, Qt.Key.Key_Escape)
    assert not search.isVisible()
