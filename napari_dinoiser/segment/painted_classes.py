"""Keep painted pixels in their classes when rows of the prompt table change or go."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from dinoiser.labels import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dinoiser.prompts import PromptClass, PromptSet
    from napari_dinoiser.prompts.rows import PromptRow
    from napari_dinoiser.prompts.table import PromptTable
    from napari_dinoiser.segment.labelled_images import LabelledImages


class Fate(Enum):
    """What becomes of pixels painted with a class that is removed."""

    KEEP = "keep"
    GIVE_BACK = "give back"
    REPAINT = "repaint"


class PaintedClasses:
    """Gives painted pixels a class for as long as they are there.

    New classes never get the number of one that was painted with, and a row that
    gets another number takes its pixels along. Whoever removes a row with painted
    pixels is asked about them. While pixels of a class stay that is not in the
    table any more, the class stays, too: in the legend, but not among the words.

    Parameters
    ----------
    images
        The images being labelled.
    table
        The classes.
    """

    def __init__(self, images: LabelledImages, table: PromptTable) -> None:
        self._images = images
        self._table = table
        self._known: list[tuple[PromptRow, PromptClass]] = []
        table.reserve(self.numbers)
        table.may_remove = self.may_remove

    def numbers(self) -> set[int]:
        """Return the labels that pixels have, or may have again by undo or redo.

        Those that were painted, and those of the words of each part: outside a box, they stay when
        a row goes.
        """
        painted = (edits.used_labels for edits in self._images.edits())
        return self._images.word_labels().union(*painted)

    def kept(self) -> dict[int, PromptClass]:
        """Return the classes that are not in the table but that pixels still have, by label."""
        used = self.numbers()
        return {number: item for number, item in self._images.kept.items() if number in used}

    def legend(self, prompts: PromptSet) -> PromptSet:
        """Return the classes of the words and those that only pixels still have."""
        return replace(prompts, classes=(*prompts.classes, *self.kept().values()))

    def may_remove(self, leaving: Sequence[PromptRow]) -> bool:
        """Ask what becomes of rows' painted pixels, and do it; False if the rows should stay."""
        all_edits = self._images.edits()
        counts = {row.id: sum(edits.count(row.id) for edits in all_edits) for row in leaving}
        painted = [row for row in leaving if counts[row.id]]
        if not painted:
            return True
        left = [row for row in self._table.rows() if row not in leaving and not row.blank]
        question = _Question(_describe(painted, counts), left, self._table)
        if question.exec() != QDialog.DialogCode.Accepted:
            return False
        fate, other = question.answer()
        for edits in all_edits:
            for row in painted:
                if fate is Fate.GIVE_BACK:
                    edits.give_back([row.id])
                elif fate is Fate.REPAINT and other is not None:
                    edits.repaint(row.id, other)
        self._images.draw()
        return True

    def follow(self) -> None:
        """Let painted pixels follow the table, once it has classes and no errors."""
        prompts = self._table.prompt_set()
        if prompts is None:
            return
        rows = [row for row in self._table.rows() if not row.blank]
        classes = {item.id: item for item in prompts.classes}
        by_row, by_name = (
            {id(row): row.id for row in rows},
            {_key(row.name): row.id for row in rows},
        )
        # Rows are recognised, or else, where a file was loaded, names. What is neither is kept.
        new: dict[int, int] = {}
        for row, item in self._known:
            number = by_row.get(id(row), by_name.get(_key(item.name)))
            if number is None:
                self._images.kept[item.id] = item
            else:
                new[item.id] = number
        # A class that comes back has its pixels again; one whose number is taken makes room.
        for number, item in self._images.kept.items():
            new[number] = by_name.get(_key(item.name), number)
            if new[number] == number and number in classes:
                new[number] = self._free({*classes, *new.values(), *self.numbers()})
        self._renumber({old: number for old, number in new.items() if old != number}, classes)
        self._known = [(row, classes[row.id]) for row in rows]

    def _renumber(self, new: Mapping[int, int], classes: Mapping[int, PromptClass]) -> None:
        kept = [
            replace(item, id=new.get(number, number)) for number, item in self._images.kept.items()
        ]
        self._images.kept = {item.id: item for item in kept if item.id not in classes}
        if new:
            for edits in self._images.edits():
                edits.renumber(new)
            self._images.draw()

    def _free(self, taken: Collection[int]) -> int:
        return next(number for number in range(1, MAX_ID + 1) if number not in taken)


class _Question(QDialog):
    """Asks what becomes of painted pixels."""

    def __init__(self, painted: str, left: Sequence[PromptRow], parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("painted_pixels")
        self.setWindowTitle("Painted pixels")
        self._group = QButtonGroup(self)
        self._others = QComboBox()
        for row in left:
            self._others.addItem(row.name, row.id)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel(f"You painted {painted}. What should become of these pixels?"))
        texts = {
            Fate.KEEP: "Keep them; the class stays in the legend",
            Fate.GIVE_BACK: "Give them back to the words",
            Fate.REPAINT: "Make them another class:",
        }
        for fate, text in texts.items():
            button = QRadioButton(text)
            button.setObjectName(fate.value)
            button.setEnabled(fate is not Fate.REPAINT or bool(left))
            self._group.addButton(button)
            layout.addWidget(button)
        self._group.buttons()[0].setChecked(True)
        layout.addWidget(self._others)
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)

    def answer(self) -> tuple[Fate, int | None]:
        """Return what was chosen, and the other class's label."""
        button = self._group.checkedButton()
        return Fate(button.objectName()), self._others.currentData()


def _describe(rows: Sequence[PromptRow], counts: Mapping[int, int]) -> str:
    pixels = sum(counts[row.id] for row in rows)
    names = ", ".join(f"“{row.name}”" for row in rows[:3])
    more = f" and {len(rows) - 3} more classes" if len(rows) > 3 else ""
    return f"{pixels:,} pixels as {names}{more}"


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
