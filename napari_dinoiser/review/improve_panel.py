"""Improve the rest: what was accepted teaches the unchecked images, and can be taken back."""

from __future__ import annotations

import html
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from dinoiser.errors import DinoiserError
from napari_dinoiser.background import Background
from napari_dinoiser.review.named import named
from napari_dinoiser.triton_import import import_triton

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from dinoiser.batch import Progress, Summary
    from dinoiser.learning.learned import Learned
    from napari_dinoiser.review.review_session import Counts

FEWEST = 3
"""Accepted images from which anything can be learnt, see `dinoiser.learning.learn`."""
SUGGESTED = 5
"""Accepted images from which on it is suggested."""
_STEPS = {"learn": "Reading what was accepted", "label": "Labelling the rest"}


class Outcome(NamedTuple):
    """What an improvement led to: what was learnt, if anything was asked, and the rest's labels."""

    learned: Learned | None
    summary: Summary | None


class ImprovePanel(QWidget):
    """Learns from a job's accepted masks and labels its unchecked images, in a thread."""

    wanted = Signal(str)
    """Emitted with "improve" or "take_back"; whoever listens calls `start`."""
    ended = Signal(bool)
    """Emitted at the end, with whether masks may have changed."""
    _advanced = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._background = Background(self)
        self._stop = Event()
        self._improved = False
        self._improve = self._button("improve", "Improve the rest", "Learn from accepted masks")
        self._take_back = self._button("take_back", "Take back", "Label as before improving")
        self._cancel = named(QPushButton("Cancel"), "improve_cancel", "Stop, to resume later")
        self._cancel.clicked.connect(self._stop.set)
        self._text = named(QLabel(), "improve_text", "What accepted masks teach")
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.RichText)
        self._advanced.connect(self._text.setText, Qt.ConnectionType.QueuedConnection)
        row = QHBoxLayout()
        for button in (self._improve, self._take_back, self._cancel):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._text)
        self._take_back.hide()
        self._cancel.hide()
        self.hide()

    @property
    def busy(self) -> bool:
        """Whether it learns or labels."""
        return self._background.busy

    def show_counts(self, counts: Counts, total: int) -> None:
        """Offer what the review allows by now."""
        accepted, left = counts.checked - counts.rejected, total - counts.checked
        self.setVisible(left > 0 or self._take_back.isVisible())
        self._improve.setEnabled(accepted >= FEWEST and left > 0)
        if accepted < FEWEST:
            self._improve.setToolTip(f"Accept {FEWEST - accepted} more to learn from them")
        else:
            self._improve.setToolTip(f"Label {left:,} unchecked images with what was accepted")
        if accepted == SUGGESTED and not self._text.text():
            self._text.setText(f"<b>{accepted} masks are accepted</b>: they can improve the rest.")

    def start(self, name: str, output: Path) -> None:
        """Improve a job, or take the latest improvement back."""
        self._stop.clear()
        self._set_running(True)
        work = partial(_improve if name == "improve" else _take_back, output)
        work = partial(work, progress=self._tell, cancelled=self._stop.is_set)
        self._background.start(work, partial(self._show_outcome, name))

    def stop(self) -> None:
        """Stop what runs, and wait for it."""
        self._stop.set()
        self._background.finish()

    def forget(self) -> None:
        """Start with another job."""
        self._text.clear()
        self._improved = False
        self._take_back.hide()

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        button = named(QPushButton(text), name, tip)
        button.clicked.connect(lambda: self.wanted.emit(name))
        return button

    def _set_running(self, running: bool) -> None:
        self._improve.setVisible(not running)
        self._take_back.setVisible(False)
        self._cancel.setVisible(running)

    def _tell(self, progress: Progress) -> None:
        step = _STEPS.get(progress.step, "")
        with suppress(RuntimeError):  # the window is gone
            self._advanced.emit(f"{step}: {progress.through:,} of {progress.total:,}")

    def _show_outcome(self, name: str, ended: Future[Outcome]) -> None:
        self._set_running(False)
        changed = False
        try:
            learned, summary = ended.result()
        except CancelledError:
            self._text.setText("Stopped; nothing was changed.")
        except DinoiserError as error:
            self._text.setText(html.escape(str(error)))
            changed = True  # some may be labelled already
        else:
            self._text.setText(_outcome_text(learned, summary))
            changed = summary is not None
            if changed:
                self._improved = name == "improve"
        self._take_back.setVisible(self._improved)
        self.ended.emit(changed)


def _improve(
    output: Path, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
) -> Outcome:
    import_triton()
    from dinoiser.batch.improve import learn_from_reviews

    learned = learn_from_reviews(output, progress=progress, cancelled=cancelled).learned
    if not learned.moves:
        return Outcome(learned, None)
    return Outcome(learned, _label_rest(output, learned, progress, cancelled))


def _take_back(
    output: Path, progress: Callable[[Progress], None], cancelled: Callable[[], bool]
) -> Outcome:
    import_triton()
    from dinoiser.batch.improve import before_last_improvement

    return Outcome(None, _label_rest(output, before_last_improvement(output), progress, cancelled))


def _label_rest(
    output: Path,
    learned: Learned | None,
    progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
) -> Summary:
    from dinoiser.batch import Running
    from dinoiser.batch.recorded_job import recorded_job
    from dinoiser.batch.relabel import relabel

    return relabel(
        output,
        recorded_job(output)[0].prompts,
        learned=learned,
        running=Running(scheduler="sync"),
        progress=progress,
        cancelled=cancelled,
    )


def _outcome_text(learned: Learned | None, summary: Summary | None) -> str:
    """Say what was learnt, by class, and how far labelling came."""
    if summary is None:
        return "Words alone are as good, or nearly: correct and accept a few more."
    stopped = " Stopped: improve again to finish." if summary.cancelled else ""
    if learned is None:
        return f"The masks are those from before.{stopped}"
    rows = "".join(
        f"<tr><td>{html.escape(name)}&nbsp;</td><td>{_iou(learned.words, number)}&nbsp;</td>"
        f"<td>{_iou(learned.learned, number)}</td></tr>"
        for number, name in learned.classes.items()
    )
    head = "<tr><th align=left>class</th><th>words&nbsp;</th><th>learnt</th></tr>"
    return (
        f"Learnt from {learned.images} masks; IoU on images left out:"
        f"<table>{head}{rows}</table>{stopped}"
    )


def _iou(scores: dict[int, float], number: int) -> str:
    return f"{scores[number]:.2f}" if number in scores else "-"
