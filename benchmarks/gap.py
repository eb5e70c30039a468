"""How long a window stands still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 100
"""Milliseconds from which on a pause is felt."""


class Gap:
    """The longest pause of a timer of 10 ms in the window's thread.

    Attributes
    ----------
    long_ones
        The number of pauses of at least `LONG` in the latest measurement.
    """

    def __init__(self) -> None:
        self.long_ones = 0
        self._timer = QTimer(interval=10)
        self._timer.timeout.connect(self._tick)

    def during(self, action: Callable[[], None], until: Callable[[], bool]) -> float:
        """Measure while an action runs, and on until what it began is done, in milliseconds."""
        self.long_ones, self._worst, self._last = 0, 0.0, time.perf_counter()
        self._timer.start()
        action()
        while not until():
            QApplication.processEvents()
        for _ in range(20):  # and while its outcome is drawn
            QApplication.processEvents()
            time.sleep(0.01)
        self._timer.stop()
        return self._worst

    def _tick(self) -> None:
        now = time.perf_counter()
        pause, self._last = 1000 * (now - self._last), now
        self._worst = max(self._worst, pause)
        self.long_ones += pause >= LONG
