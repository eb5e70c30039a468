"""How long a window stands still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 100
"""Milliseconds from which on a pause is felt."""


class Pauses(NamedTuple):
    """What a measurement found, in milliseconds.

    Attributes
    ----------
    worst
        The longest pause.
    work
        The most that the window's thread itself worked in one, which does not
        depend on what else the machine does.
    long
        The number of pauses of at least `LONG`.
    """

    worst: float
    work: float
    long: int


class Gap:
    """Measures the pauses of a timer of 10 ms in the window's thread."""

    def __init__(self) -> None:
        self._timer = QTimer(interval=10)
        self._timer.timeout.connect(self._tick)

    def during(self, action: Callable[[], None], until: Callable[[], bool]) -> Pauses:
        """Measure while an action runs, and on until what it began is done."""
        self._found, self._last = [], (time.perf_counter(), time.thread_time())
        self._timer.start()
        action()
        while not until():
            QApplication.processEvents()
        for _ in range(20):  # and while its outcome is drawn
            QApplication.processEvents()
            time.sleep(0.01)
        self._timer.stop()
        worst, work = (1000 * max(values) for values in zip(*self._found, strict=True))
        return Pauses(worst, work, sum(1000 * pause >= LONG for pause, _ in self._found))

    def _tick(self) -> None:
        now = time.perf_counter(), time.thread_time()
        self._found.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now
