"""The Folder tab: label a whole folder with the words of the Segment tab."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from dinoiser.batch.folder import count_reviews
from dinoiser.batch.job import (
    SCHEDULERS,
    LabelJob,
    Labelling,
    Results,
    Running,
    reading_in,
)
from dinoiser.batch.summary import count_images
from dinoiser.errors import DinoiserError, InputError
from napari_dinoiser.folder.job import describe_classes, run_job
from napari_dinoiser.folder.views import (
    CommandLine,
    FolderPicker,
    FormatBoxes,
    OutcomeView,
    RunView,
)
from napari_dinoiser.folder.window_names import FOLD, START_ANEW, in_window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari import Viewer

    from dinoiser.batch import Summary
    from dinoiser.prompts import PromptSet
    from napari_dinoiser.model_choice import ModelChoice


class FolderWidget(QWidget):
    """Labels a folder of images, as `dinoiser label` does.

    Parameters
    ----------
    viewer
        The viewer; its activity dock also shows the progress.
    choose
        Returns the classes, None if there are none yet, and the model. It may
        raise a DinoiserError.
    """

    review_requested = Signal(str)
    """Emitted with a folder of results to review."""

    def __init__(
        self, viewer: Viewer, choose: Callable[[], tuple[PromptSet | None, ModelChoice]]
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self._choose = choose
        self._stop = threading.Event()
        self._worker: Any = None
        self.destroyed.connect(self._stop.set)
        self.input_folder = FolderPicker("input_folder", "Folder of images, including subfolders")
        self.output_folder = FolderPicker("output_folder", "Folder for the results")
        self.formats = FormatBoxes()
        self.keep_features = _create_keep_features()
        self.scheduler = _create_scheduler()
        self.overwrite = _create_overwrite()
        self.classes = _create_classes()
        self.command = CommandLine()
        self.missing = QLabel()
        self.missing.setObjectName("folder_missing")
        self.missing.setWordWrap(True)
        self.run_button = QPushButton("Run")
        self.cancel_button = QPushButton("Cancel")
        self.progress = RunView()
        self.outcome = OutcomeView()
        self._lay_out()
        self._connect()
        self.refresh()

    def refresh(self) -> None:
        """Update from the Segment tab."""
        folder = self.input_folder.path
        self.output_folder.suggest(folder and folder.parent / f"{folder.name}-labels")
        try:
            prompts, choice = self._choose()
            self.classes.setText(describe_classes(prompts, choice.name))
            self.command.show_job(self._job(prompts, choice))
            self._show_missing("")
        except DinoiserError as error:
            problem = in_window(str(error))
            self.command.show_problem(problem)
            self._show_missing(problem)
        if self._worker is None and self.outcome.is_problem:
            self.outcome.hide()  # of what was chosen before

    def _show_missing(self, problem: str) -> None:
        """Say why the job cannot be run; nothing if it can."""
        self.missing.setText(problem)
        self.missing.setVisible(bool(problem))
        self._set_running(self._worker is not None)

    def run(self) -> None:
        """Start the job, or say what is missing."""
        from napari.utils.notifications import show_error

        if self._worker is not None:
            return
        try:
            job = self._job(*self._choose())
            if job.running.discard_reviews and not self._may_discard_reviews(job):
                return
        except DinoiserError as error:
            show_error(in_window(str(error)))
            return
        self.overwrite.setChecked(False)  # so that the next run resumes this one
        self._start(job)

    def _may_discard_reviews(self, job: LabelJob) -> bool:
        """Ask before starting over deletes what people have reviewed."""
        count, _ = count_reviews(job.output)
        if not count:
            return True
        answer = QMessageBox.question(
            self,
            "Start over",
            f"{job.output} holds the reviews of {count_images(count)}. Delete them, with the masks "
            "that were corrected?",
        )
        return answer == QMessageBox.StandardButton.Yes

    def cancel(self) -> None:
        """Stop after the images that are being labelled."""
        self._stop.set()
        self.cancel_button.setEnabled(False)
        self.progress.say("Stopping …")

    def showEvent(self, event: Any) -> None:
        """Update from the Segment tab."""
        super().showEvent(event)
        self.refresh()

    def _job(self, prompts: PromptSet | None, choice: ModelChoice) -> LabelJob:
        folder, output = self.input_folder.path, self.output_folder.path
        if prompts is None:
            msg = "There are no classes yet; add some in the Segment tab."
            raise InputError(msg)
        if folder is None or output is None:
            msg = "There is no folder of images yet; choose one."
            raise InputError(msg)
        if not folder.is_dir():
            msg = f"There is no folder {folder}; choose another."
            raise InputError(msg)
        if not output.name:
            msg = f"The results cannot be written to {output} itself; choose a folder in it."
            raise InputError(msg)
        # there is no place for it here: a job that was begun elsewhere keeps it
        reading = reading_in(output)
        return LabelJob(
            inputs=(folder,),
            output=output,
            labelling=Labelling(
                prompts,
                choice.name,
                heads=choice.heads,
                settings=choice.settings,
                nodata=reading.nodata,
                bands=reading.bands,
            ),
            results=Results(self.formats.chosen, keep_features=self.keep_features.isChecked()),
            running=Running(
                device=choice.device,
                scheduler=self.scheduler.currentText().strip(),
                overwrite=self.overwrite.isChecked(),
                discard_reviews=self.overwrite.isChecked(),  # which `run` asks about
            ),
        )

    def _start(self, job: LabelJob) -> None:
        from napari.qt.threading import create_worker
        from napari.utils import progress

        self._stop.clear()
        self.outcome.hide()
        bar = progress(total=0, desc="DINOiser: folder")
        self.progress.start(job.output, bar)
        # the job runs in a thread; signals bring its news to the window's thread
        news = _News()
        news.progressed.connect(self.progress.show_progress)
        news.downloaded.connect(self.progress.show_download)
        news.done.connect(self._show_outcome)
        news.refused.connect(self._show_problem)
        self._worker = create_worker(_work, job, news, self._stop.is_set, _start_thread=False)
        self._worker.finished.connect(bar.close)
        self._worker.finished.connect(self._finish)
        self._set_running(True)
        self._worker.start()

    def _finish(self) -> None:
        self._worker = None
        self.progress.hide()
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        self.run_button.setEnabled(not running and not self.missing.text())
        self.cancel_button.setEnabled(running)

    def _show_outcome(self, output: Path, summary: Summary) -> None:
        self.outcome.show_summary(output, summary)

    def _show_problem(self, problem: str) -> None:
        from napari.utils.notifications import show_error

        problem = in_window(problem)
        self.outcome.show_problem(problem)
        if not self._stop.is_set():
            show_error(problem)

    def _lay_out(self) -> None:
        self.run_button.setObjectName("run_folder")
        self.run_button.setToolTip("Label the images; finished ones are kept.")
        self.cancel_button.setObjectName("cancel_folder")
        self.cancel_button.setToolTip("Stop; labelled images are kept, and Run resumes from there.")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Images", self.input_folder)
        form.addRow("Results", self.output_folder)
        form.addRow("Classes", self.classes)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self._folded())
        layout.addWidget(self.missing)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self.outcome)
        layout.addStretch()
        self._set_running(False)

    def _folded(self) -> QCollapsible:
        """Return what most jobs do not need: formats, scheduler and the command."""
        more = QWidget()
        form = QFormLayout(more)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Formats", self.formats)
        form.addRow("", self.keep_features)
        form.addRow("Scheduler", self.scheduler)
        form.addRow("", self.overwrite)
        form.addRow(self.command)
        folded = QCollapsible(FOLD)
        folded.setObjectName("folder_more")
        folded.addWidget(more)
        return folded

    def _connect(self) -> None:
        self.input_folder.changed.connect(self.refresh)
        self.output_folder.changed.connect(self.refresh)
        self.formats.changed.connect(self.refresh)
        self.scheduler.currentTextChanged.connect(self.refresh)
        self.overwrite.toggled.connect(self.refresh)
        self.keep_features.toggled.connect(self.refresh)
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.outcome.review_requested.connect(self.review_requested)


class _News(QObject):
    """Carries news of a running job from its thread to the window's."""

    progressed = Signal(object)  # Progress
    downloaded = Signal(str, object, object)  # file, bytes done, total bytes
    done = Signal(object, object)  # folder of the results, Summary
    refused = Signal(str)  # the reason


def _work(job: LabelJob, news: _News, cancelled: Callable[[], bool]) -> None:
    """Run a job in a thread."""
    try:
        summary = run_job(
            job,
            progress=news.progressed.emit,
            cancelled=cancelled,
            download_progress=news.downloaded.emit,
        )
    except DinoiserError as problem:
        news.refused.emit(str(problem))
    else:
        news.done.emit(job.output, summary)


def _create_scheduler() -> QComboBox:
    scheduler = QComboBox()
    scheduler.setObjectName("scheduler")
    scheduler.setEditable(True)
    scheduler.addItems(SCHEDULERS)
    scheduler.setToolTip(
        "auto: in napari for few images, in separate processes for many; sync: in napari; "
        "local: in separate processes; tcp://host:8786: on a running dask cluster."
    )
    return scheduler


def _create_keep_features() -> QCheckBox:
    box = QCheckBox("Keep features, to improve later")
    box.setObjectName("keep_features")
    box.setToolTip("About 0.8 MB per photograph; corrections and other words then take seconds")
    return box


def _create_overwrite() -> QCheckBox:
    overwrite = QCheckBox(START_ANEW)
    overwrite.setObjectName("overwrite")
    overwrite.setToolTip(
        "Delete existing results, including reviews, instead of resuming; needed if words or "
        "settings have changed."
    )
    return overwrite


def _create_classes() -> QLabel:
    classes = QLabel()
    classes.setObjectName("folder_classes")
    classes.setWordWrap(True)
    classes.setToolTip("The classes to look for; edit them in the Segment tab.")
    return classes
