"""The Review tab: correct, accept or reject a job's images one by one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QDockWidget, QMessageBox, QVBoxLayout, QWidget

from dinoiser.errors import DinoiserError
from napari_dinoiser.review.buttons import ReviewButtons
from napari_dinoiser.review.class_list import ClassList
from napari_dinoiser.review.layers import ReviewLayers
from napari_dinoiser.review.queue import ReviewQueue
from napari_dinoiser.review.status import ReviewStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

    from napari_dinoiser.review.review_session import ReviewSession

KEEP_UNSAVED_EVERY = 3000
"""Milliseconds between checks for unsaved edits to write."""
_STEPS: dict[str, tuple[Callable[[ReviewSession], bool], str]] = {
    "previous": (lambda session: session.move(-1), "This is the first image."),
    "next": (lambda session: session.move(1), "This was the last image."),
    "next_unchecked": (
        lambda session: session.move_to_unchecked(),
        "All images in this list are checked.",
    ),
    "accept": (lambda session: session.accept(), "This was the last image."),
    "reject": (lambda session: session.reject(), "This was the last image."),
}
"""What each button does, and the message if it leads to no other image."""


class ReviewWidget(QWidget):
    """Review a job, least certain images first.

    The keys work while this widget is visible, with the focus in it or on the
    canvas.

    Parameters
    ----------
    viewer
        The viewer that shows the images.
    """

    job_opened = Signal(str)
    """Emitted with the folder of a job when it is open."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._session: ReviewSession | None = None
        self._queue = ReviewQueue()
        self._buttons = ReviewButtons()
        self._classes = ClassList()
        self._status = ReviewStatus()
        layout = QVBoxLayout(self)
        for widget in (self._queue, self._status, self._buttons, self._status.message):
            layout.addWidget(widget)
        layout.addWidget(self._classes, 1)
        keys = {key: button.click for key, button in self._buttons.keys.items()}
        keys |= {str(digit): partial(self._choose_digit, digit) for digit in range(10)}
        # the same keys for Qt ("Shift+N") and for napari ("Shift-N")
        canvas_keys = {key.replace("+", "-"): action for key, action in keys.items()}
        self._layers = ReviewLayers(viewer, canvas_keys, self._classes.mark)
        self._queue.folder_chosen.connect(self.open_job)
        self._queue.order_changed.connect(self._arrange)
        self._buttons.pressed.connect(self._do)
        self._classes.label_chosen.connect(self._layers.select)
        self._bind_own_keys(keys)
        self._timer = QTimer(self, interval=KEEP_UNSAVED_EVERY)
        self._timer.timeout.connect(self._keep_unsaved)
        self._refresh()

    def open_job(self, folder: str | Path) -> None:
        """Review a job; asks first if another job's image has unsaved edits.

        Records are read in a thread; `job_opened` is emitted when the job is
        open. If a folder cannot be reviewed, a notification says why.
        """
        from napari.qt.threading import create_worker

        if not self._settle():
            return
        self._queue.folder.setText(str(folder))
        self._queue.folder.setEnabled(False)
        self._refresh("Reading the job's records …")
        create_worker(
            _open_session,
            Path(folder).expanduser(),
            _connect={"returned": self._take_session},
        )

    def showEvent(self, event: Any) -> None:
        """Bind the keys, and watch for the window or the panel being closed."""
        super().showEvent(event)
        self._watch_closing()
        if self._session:
            self._layers.bind_keys()

    def hideEvent(self, event: Any) -> None:
        """Release the keys."""
        self._layers.release_keys()
        super().hideEvent(event)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Ask about unsaved edits before the window closes or the panel is removed."""
        if event.type() == QEvent.Type.Close and watched == self._top and not self._settle():
            event.ignore()
            return True
        if event.type() == QEvent.Type.ParentAboutToChange and watched == self._inner:
            self._settle(QMessageBox.StandardButton.NoButton)  # napari removes it in any case
            self._end()
        return super().eventFilter(watched, event)

    def _bind_own_keys(self, keys: dict[str, Callable[[], Any]]) -> None:
        """Bind the keys for when the focus is in this widget, but not in a text field."""
        for key, action in keys.items():
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def _take_session(self, opened: ReviewSession | str) -> None:
        """Start reviewing the job that a thread has opened."""
        self._queue.folder.setEnabled(True)
        if isinstance(opened, str):
            _say(opened)
            self._refresh()
            return
        if not self._settle():  # edited while the other job was being read
            return
        self._session = opened
        self._layers.style(opened.prompts)
        self._classes.set_classes(opened.prompts)
        self._queue.set_classes(opened.prompts)
        self._timer.start()
        self._arrange()
        if self.isVisible():
            self._layers.bind_keys()
        self.job_opened.emit(str(opened.output))

    def _arrange(self) -> None:
        """Sort the images according to the controls."""
        if self._session is None:
            return
        self._take_labels()
        queue = self._queue
        try:
            self._session.arrange(queue.order, queue.class_id, only_unchecked=queue.only_unchecked)
        except DinoiserError as error:
            _say(str(error))
            return
        self._show(self._session)

    def _do(self, name: str) -> None:
        """Do what a button is for."""
        if self._session is None:
            return
        if name == "toggle_labels":
            self._layers.toggle_labels()
        elif name == "revert":
            self._revert()
        else:
            self._go(self._session, *_STEPS[name])

    def _go(
        self, session: ReviewSession, step: Callable[[ReviewSession], bool], otherwise: str
    ) -> None:
        """Let the session save and move, and show the result."""
        self._take_labels()
        try:
            moved = step(session)
        except DinoiserError as error:
            _say(str(error))
            return
        if moved:
            self._show(session)
        else:
            self._refresh(otherwise)

    def _show(self, session: ReviewSession) -> None:
        if session.current is None:
            self._layers.hide()
        else:
            self._layers.show(session.current, session.prompts)
        self._refresh()

    def _refresh(self, message: str = "") -> None:
        """Update all texts and buttons."""
        session = self._session
        self._buttons.enable(
            any_image=bool(session and session.labelled),
            readable=bool(session and session.current),
        )
        if session is None:
            self._status.clear(message)
        else:
            self._status.show_session(session, message)

    def _take_labels(self) -> None:
        """Pass the current labels to the session, however they were changed."""
        if self._session and self._session.current and self._layers.labels is not None:
            # scripts may have replaced the layer's array, so it is taken anew each time
            self._session.current.labels = np.asarray(self._layers.labels.data)

    def _keep_unsaved(self) -> None:
        if self._session is None:
            return
        self._take_labels()
        try:
            self._session.keep_unsaved()
        except DinoiserError as error:
            _say(str(error))

    def _revert(self) -> None:
        if self._session and self._session.current:
            self._session.revert()
            self._layers.show_labels(self._session.current.labels)
            self._refresh("The saved mask is restored.")

    def _choose_digit(self, digit: int) -> None:
        label = self._classes.label_of_digit(digit)
        if label is not None:
            self._layers.select(label)

    def _settle(
        self, cancel: QMessageBox.StandardButton = QMessageBox.StandardButton.Cancel
    ) -> bool:
        """Ask what to do with unsaved edits; return False to leave everything as it is."""
        self._take_labels()
        current = self._session.current if self._session else None
        if self._session is None or current is None or not current.edited:
            return True
        choices = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self.window(),
            "Unsaved corrections",
            f"The mask of {current.labelled.image} has unsaved corrections.",
            choices.Save | choices.Discard | cancel,
            choices.Save,
        )
        if answer == choices.Discard:
            self._revert()
        elif answer == choices.Save:
            try:
                self._session.save()
            except DinoiserError as error:
                _say(str(error))
                return False
            self._refresh()
        return answer in (choices.Save, choices.Discard)

    def _end(self) -> None:
        """Stop reviewing; the layers stay."""
        self._timer.stop()
        if self._session:
            self._session.keep_unsaved()
        self._layers.disconnect()
        self._session = None

    def _watch_closing(self) -> None:
        """Watch the window, and the widget that napari removes when the panel is closed."""
        self._top: QWidget = self
        self._inner: QWidget | None = None
        # up to the window; on the way, the child of the dock is what napari takes out
        while parent := self._top.parentWidget():
            if isinstance(parent, QDockWidget):
                self._inner = self._top
                self._inner.installEventFilter(self)
            self._top = parent
        self._top.installEventFilter(self)


def _open_session(folder: Path) -> ReviewSession | str:
    """Open a job, or return why it cannot be opened."""
    from napari_dinoiser.review.review_session import ReviewSession

    try:
        return ReviewSession(folder)
    except DinoiserError as error:
        return str(error)


def _say(problem: str) -> None:
    from napari.utils.notifications import show_error

    show_error(problem)
