"""A line that says what keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

if TYPE_CHECKING:
    from collections.abc import Iterable

UNBROKEN = "\u00a0"
"""A space at which no line ends."""


class KeyHints(QLabel):
    """Keys that work on the canvas, and what each does in a word or two.

    Parameters
    ----------
    hints
        Such as "F fill"; lines end only between them.
    """

    def __init__(self, hints: Iterable[str]) -> None:
        super().__init__(f"{UNBROKEN}· ".join(hint.replace(" ", UNBROKEN) for hint in hints))
        self.setObjectName("hints")
        self.setToolTip("Keys that work on the canvas")
        self.setWordWrap(True)
