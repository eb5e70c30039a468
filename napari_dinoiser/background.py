"""Work for which the window must not wait: one thing at a time, in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_dinoiser.in_thread import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


class Background(QObject):
    """Calls functions in a thread, and hands over their results in the window's.

    Each has a turn of the window's event loop for itself, so that before it the
    window draws, and hears what its user does.

    Parameters
    ----------
    parent
        With it, everything ends; None if nothing ends before the program.
    """

    _ended = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._running: tuple[Future, Callable[[Future], Any]] | None = None
        # a queued signal alone would be handed over together with all others that wait
        self._turn = QTimer(self, singleShot=True, interval=0)
        self._turn.timeout.connect(self._hand_over)
        self._ended.connect(self._turn.start, Qt.ConnectionType.QueuedConnection)

    @property
    def busy(self) -> bool:
        """Whether something runs, or its result is not handed over yet."""
        return self._running is not None

    def start(self, function: Callable[[], Any], then: Callable[[Future], Any]) -> None:
        """Call a function in a thread, and then another with its future; only if not busy."""
        assert self._running is None
        future = in_thread(function)
        self._running = future, then
        future.add_done_callback(self._tell)

    def finish(self) -> None:
        """Wait for what runs, and hand over its result now."""
        if self._running is not None:
            self._running[0].exception()  # waits
            self._hand_over()

    def _tell(self, _: Future) -> None:
        try:
            self._ended.emit()
        except RuntimeError:  # the window is gone, and nobody takes the result
            self._running = None

    def _hand_over(self) -> None:
        # a signal may come after `finish`, when something else runs already
        if self._running is not None and self._running[0].done():
            (future, then), self._running = self._running, None
            then(future)
