"""The Review tab: correct, accept or reject a job's images one by one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QKeySequence, QShortcut
from qtpy.QtWidgets import QDockWidget, QMessageBox, QVBoxLayout, QWidget

from dinoiser.batch.folder import REPORT
from dinoiser.batch.reviews import OtherMaskError, OtherWordsError
from dinoiser.errors import DinoiserError
from napari_dinoiser.background import Background
from napari_dinoiser.class_list import ClassList
from napari_dinoiser.class_search import ClassSearch
from napari_dinoiser.key_hints import KeyHints
from napari_dinoiser.label_keys import DISPLAY_KEYS, SEARCH_KEYS
from napari_dinoiser.layer_warm_up import warm_up_layers
from napari_dinoiser.review.buttons import ReviewButtons
from napari_dinoiser.review.confidence_view import ConfidenceView
from napari_dinoiser.review.end_page import EndPage
from napari_dinoiser.review.improve_panel import ImprovePanel
from napari_dinoiser.review.layers import ReviewLayers
from napari_dinoiser.review.objects import ReviewObjects
from napari_dinoiser.review.queue import ReviewQueue
from napari_dinoiser.review.queue_list import QueueList
from napari_dinoiser.review.status import ReviewStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    import napari
    from napari.layers import Labels

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
HINTS = (
    "1-9 paint", "Shift object", "/ search a class", "F fill", "E erase", "Ctrl+Z undo", "T labels",
    "O outlines", "[ ] opacity", "I one class", "G next uncertain place", "C confidence",
)  # fmt: skip
"""Keys, and what they do in a word or two."""


class ReviewWidget(QWidget):
    """Review a job, the worst images first.

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
        self._closed = False
        self._queue = ReviewQueue()
        self._buttons = ReviewButtons()
        self._classes = ClassList()
        self._search = ClassSearch(self)
        self._status = ReviewStatus()
        self._list = QueueList()
        self._end_page = EndPage()
        self._improve = ImprovePanel()
        self._hints = KeyHints(HINTS)
        self._background = Background(self)
        self._confidence = ConfidenceView(viewer)
        self._lay_out()
        keys = self._keys()
        # the same keys for Qt ("Shift+N") and for napari ("Shift-N")
        canvas_keys = {key.replace("+", "-"): action for key, action in keys.items()}
        self._layers = ReviewLayers(viewer, canvas_keys, self._classes.mark)
        self._objects = ReviewObjects(
            viewer, self._layers, self._classes.label_of_digit, self._refresh, self
        )
        self._connect()
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

        self._background.finish()
        if self._improve.busy or not self._settle():
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
        self._closed = False
        self._watch_closing()
        if self._session:
            self._layers.enter()
        self._objects.tool.start()

    def hideEvent(self, event: Any) -> None:
        """Release the keys."""
        self._objects.tool.stop()
        self._layers.leave()
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

    def _lay_out(self) -> None:
        self._work = (self._buttons, self._classes, self._list, self._hints)
        layout = QVBoxLayout(self)
        for widget in (self._queue, self._status, self._buttons, self._status.message):
            layout.addWidget(widget)
        layout.addWidget(self._end_page)
        layout.addWidget(self._improve)
        layout.addWidget(self._classes, 2)
        layout.addWidget(self._list, 1)
        layout.addWidget(self._hints)
        layout.addStretch(0)  # at the end, when the lists are hidden

    def _connect(self) -> None:
        self._queue.folder_chosen.connect(self.open_job)
        self._queue.order_changed.connect(lambda: self._arrange())
        self._buttons.pressed.connect(self._do)
        for widget in (self._classes, self._search):
            widget.label_chosen.connect(self._layers.select)
        self._list.chosen.connect(self._open_at)
        self._end_page.wanted.connect(self._finish)
        self._improve.wanted.connect(self._start_improving)
        self._improve.ended.connect(self._end_improving)

    def _keys(self) -> dict[str, Callable[[], Any]]:
        """Actions of keys, as Qt writes them."""
        keys = {key: button.click for key, button in self._buttons.keys.items()}
        keys |= {str(digit): partial(self._choose_digit, digit) for digit in range(10)}
        keys |= {key: partial(self._display, change) for key, change in DISPLAY_KEYS.items()}
        keys |= {key.replace("-", "+"): self._ask_class for key in SEARCH_KEYS}
        keys["G"] = partial(self._with_confidence, self._next_place)
        keys["C"] = partial(self._with_confidence, self._confidence.toggle)
        return keys

    def _bind_own_keys(self, keys: dict[str, Callable[[], Any]]) -> None:
        """Bind the keys for when the focus is in this widget, but not in a text field."""
        for key, action in keys.items():
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def _take_session(self, opened: ReviewSession | str) -> None:
        """Review the job that a thread has opened, unless the panel was closed meanwhile."""
        if self._closed:
            return
        self._queue.folder.setEnabled(True)
        if isinstance(opened, str):
            self._say(opened)
            return
        self._background.finish()
        if not self._settle():  # edited while the other job was being read
            return
        if self._session is not None and self._session.output != opened.output:
            self._improve.forget()
        self._session = opened
        self._layers.style(opened.prompts)
        self._classes.set_classes(opened.prompts)
        self._queue.set_classes(opened.prompts)
        self._timer.start()
        if self.isVisible():
            self._layers.enter()
        self._add_layers()

    def _add_layers(self) -> None:
        """Add what layers are missing, each in a turn of the window for itself; then begin."""
        session = self._session
        if session is None:  # closed in between
            return
        if self._layers.add_missing(session.prompts):
            QTimer.singleShot(0, self._add_layers)
        else:
            self._layers.take_up()
            self._arrange(lambda: self.job_opened.emit(str(session.output)))

    def _arrange(self, then: Callable[[], Any] | None = None) -> None:
        """Sort the images according to the controls."""
        self._background.finish()
        queue, order = self._queue, self._queue.order
        arrange = partial(
            _arranged, order=order, class_id=queue.class_id, only_unchecked=queue.only_unchecked
        )
        self._go(arrange, then=then)

    def _open_at(self, position: int) -> None:
        self._go(lambda session: session.open_at(position))

    def _do(self, name: str) -> None:
        """Do what a button is for."""
        if self._session is None:
            return
        if name == "toggle_labels":
            self._layers.toggle_labels()
        elif name == "revert":
            self._revert()
        else:
            self._go(*_STEPS[name])

    def _go(
        self,
        step: Callable[[ReviewSession], bool],
        otherwise: str = "",
        then: Callable[[], Any] | None = None,
    ) -> None:
        """Let the session save and move in a thread, and show the result."""
        if self._session is None or self._background.busy or self._improve.busy:
            return
        self._take_labels()
        self._layers.hold()
        went = partial(self._went, self._session, otherwise, then)
        self._background.start(partial(step, self._session), went)

    def _went(
        self,
        session: ReviewSession,
        otherwise: str,
        then: Callable[[], Any] | None,
        moved: Future[bool],
    ) -> None:
        """Show where the session is now, or why it did not move."""
        self._layers.let_go()
        if isinstance(error := moved.exception(), DinoiserError):
            self._refused(session, error)
            return
        if moved.result():
            self._show(session)
        else:
            self._refresh(otherwise)
            if session.counts.checked == session.total:
                self._show_end(session)
        if then is not None:
            then()

    def _refused(self, session: ReviewSession, error: DinoiserError) -> None:
        """Say why nothing was saved, and show what others have changed meanwhile."""
        if session.current is not None and isinstance(error, OtherMaskError):
            self._layers.show_labels(session.current.labels)
        self._say(str(error))
        if isinstance(error, OtherWordsError):
            self._read_again(session)

    def _read_again(self, session: ReviewSession) -> None:
        """Open the job anew; what is not saved comes back with its image, as after a crash."""
        try:
            session.put_aside()
        except DinoiserError as error:
            self._say(str(error))
        else:
            self.open_job(session.output)

    def _show(self, session: ReviewSession) -> None:
        self._confidence.forget()
        self._show_work()
        if session.current is None:
            self._layers.hide()
        else:
            self._layers.show(session.current, session.prompts)
        self._objects.show(session)
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
            self._improve.show_counts(session.counts, session.total)
            self._status.show_session(session, message)
            self._list.show_session(session)

    def _take_labels(self) -> None:
        """Pass the current labels to the session, however they were changed."""
        if self._session and self._session.current and self._layers.labels is not None:
            # scripts may have replaced the layer's array, so it is taken anew each time; a copy,
            # as a thread reads it while the layer is in the window's hands
            self._session.current.labels = np.array(self._layers.labels.data)

    def _keep_unsaved(self) -> None:
        if self._session is None or self._background.busy:
            return
        self._take_labels()
        try:
            self._session.keep_unsaved()
        except DinoiserError as error:
            self._say(str(error))

    def _revert(self) -> None:
        if self._session and self._session.current:
            self._session.revert()
            self._layers.show_labels(self._session.current.labels)
            self._refresh("The saved mask is restored.")

    def _display(self, change: Callable[[Labels], None]) -> None:
        self._layers.change(change)

    def _with_confidence(self, action: Callable[[], Any]) -> None:
        """Do something that needs the image's confidence, once it is read."""
        if self._confidence.known:
            action()
        elif self._session is not None and not self._background.busy:
            self._background.start(self._session.confidence, partial(self._take_confidence, action))

    def _take_confidence(self, action: Callable[[], Any], read: Future[np.ndarray]) -> None:
        if isinstance(error := read.exception(), DinoiserError):
            self._say(str(error))
            return
        self._confidence.take(read.result())
        action()

    def _next_place(self) -> None:
        self._refresh(self._confidence.next_place())

    def _show_end(self, session: ReviewSession) -> None:
        """Show how the review went in place of the buttons and lists."""
        self._end_page.show_counts(session.counts)
        for widget in self._work:
            widget.hide()
        self._end_page.show()

    def _show_work(self) -> None:
        self._end_page.hide()
        for widget in self._work:
            widget.show()

    def _finish(self, name: str) -> None:
        """Do what a button at the end is for."""
        if name == "back":
            self._show_work()
        elif name == "another":
            self._queue.browse()
        elif name == "masks" and self._session is not None:
            _open_outside(self._session.output / "masks")
        elif self._session is not None and not self._background.busy:
            self._refresh("Writing …")
            formats = [] if name == "report" else [name]
            export = partial(_export, self._session.output, formats)
            self._background.start(export, partial(self._exported, self._session.output, name))

    def _exported(self, output: Path, name: str, written: Future[dict[str, str]]) -> None:
        if isinstance(error := written.exception(), DinoiserError):
            self._say(str(error))
        elif failures := written.result():
            reasons = "; ".join(f"{image}: {reason}" for image, reason in failures.items())
            self._say(f"These images could not be exported: {reasons}")
        elif name == "report":
            self._refresh()
            _open_outside(output / REPORT)
        else:
            self._refresh(f"The masks were exported to {output}.")

    def _start_improving(self, name: str) -> None:
        """Let what was accepted teach the rest; the masks are in its hands until it has ended."""
        if self._session is None or self._background.busy or not self._settle():
            return
        self._layers.hold()
        self._set_at_work(False)
        self._improve.start(name, self._session.output)

    def _end_improving(self, changed: bool) -> None:
        """Read the job again if masks, and the order that depends on them, may have changed."""
        self._layers.let_go()
        self._set_at_work(True)
        if changed and self._session is not None:
            self.open_job(self._session.output)

    def _set_at_work(self, enabled: bool) -> None:
        for widget in (self._queue, *self._work):
            widget.setEnabled(enabled)

    def _say(self, problem: str) -> None:
        """Say a problem: in napari's notification, which is short, and whole in the tab."""
        from napari.utils.notifications import show_error

        show_error(problem)
        self._refresh(problem)

    def _ask_class(self) -> None:
        if self._session is not None and self._session.current is not None:
            self._search.ask(self._session.prompts)

    def _choose_digit(self, digit: int) -> None:
        label = self._classes.label_of_digit(digit)
        if label is not None:
            self._layers.select(label)

    def _settle(
        self, cancel: QMessageBox.StandardButton = QMessageBox.StandardButton.Cancel
    ) -> bool:
        """Ask what to do with unsaved edits; return False to leave everything as it is."""
        self._background.finish()
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
                self._refused(self._session, error)
                return False
            self._refresh()
        return answer in (choices.Save, choices.Discard)

    def _end(self) -> None:
        """Stop reviewing; the layers stay."""
        self._closed = True
        self._improve.stop()
        self._timer.stop()
        if self._session:
            self._session.keep_unsaved()
        self._objects.tool.stop()
        self._objects.show(None)
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

    warm_up_layers()
    try:
        return ReviewSession(folder)
    except DinoiserError as error:
        return str(error)


def _arranged(session: ReviewSession, **order: Any) -> bool:
    """Sort a session's images; its first one is another to show."""
    session.arrange(**order)
    return True


def _export(output: Path, formats: list[str]) -> dict[str, str]:
    from dinoiser.batch.export import export_alone

    return export_alone(output, formats)


def _open_outside(path: Path) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
