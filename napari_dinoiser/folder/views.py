"""The parts of the Folder tab; each shows one thing and contains no logic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QFontDatabase, QImageReader, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from dinoiser.batch.job import DEFAULT_FORMATS
from dinoiser.batch.job_images import result_file
from dinoiser.errors import DinoiserError
from napari_dinoiser.folder.command_line import prompt_file, save_prompt_file, to_command
from napari_dinoiser.folder.job import (
    RunStatus,
    describe_failures,
    describe_notes,
    describe_outcome,
)
from napari_dinoiser.folder_line import FolderLine

if TYPE_CHECKING:
    from dinoiser.batch import LabelJob, Progress, Summary

FORMATS = {
    "png": ("Masks", "Indexed PNG masks. Always written, as other formats are made from them."),
    "overlay": ("Overlays", "A preview of each image with its classes."),
    "confidence": ("Confidence", "A grey image of the confidence of each pixel."),
    "coco": ("COCO", "COCO: annotations.json, one file for all images."),
    "panoptic": ("Panoptic", "COCO panoptic: panoptic.json, and a PNG for each image."),
    "yolo": ("YOLO", "YOLO segmentation: data.yaml, and a text file for each image."),
}
"""Text and tooltip of the box of each format."""
COLUMNS = 2
LATEST_HEIGHT = 260
"""Largest height of the latest image in screen pixels."""
LARGE = 40
"""Height of the button that leads on."""
SECONDS_AN_IMAGE = 0.5
"""Shortest time for which an image is shown; some of those that come faster are skipped."""
COMMAND_LINES = 4


class FolderPicker(QWidget):
    """A folder, typed, dropped or chosen.

    Parameters
    ----------
    name
        Object name of the text field.
    tip
        Its tooltip.
    """

    changed = Signal()

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self._title = tip
        self.line = FolderLine()
        self.line.setObjectName(name)
        self.line.setToolTip(tip)
        self.line.textChanged.connect(self.changed)
        browse = QPushButton("…")
        browse.setObjectName(f"browse_{name}")
        browse.setToolTip("Choose the folder")
        browse.setFixedWidth(32)
        browse.clicked.connect(self._browse)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        layout.addWidget(browse)

    @property
    def path(self) -> Path | None:
        """The chosen folder, or else the suggested one, or else None."""
        text = self.line.text().strip() or self.line.placeholderText()
        return Path(text).expanduser().absolute() if text else None

    def suggest(self, path: Path | None) -> None:
        """Set the folder to use as long as none is chosen."""
        self.line.setPlaceholderText(str(path) if path else "")

    def _browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self._title, self.line.text())
        if chosen:
            self.line.setText(chosen)


class FormatBoxes(QWidget):
    """Checkboxes for the formats to write."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.boxes = {}
        for number, (name, (text, tip)) in enumerate(FORMATS.items()):
            box = self.boxes[name] = QCheckBox(text)
            box.setObjectName(f"format_{name}")
            box.setToolTip(tip)
            box.setChecked(name in DEFAULT_FORMATS)
            box.toggled.connect(self.changed)
            layout.addWidget(box, *divmod(number, COLUMNS))
        self.boxes["png"].setEnabled(False)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the chosen formats, as in `dinoiser.batch.Results`."""
        return tuple(name for name, box in self.boxes.items() if box.isChecked())


class CommandLine(QWidget):
    """Shows the equivalent command line, to copy."""

    def __init__(self) -> None:
        super().__init__()
        self._job: LabelJob | None = None
        self.text = QPlainTextEdit()
        self.text.setObjectName("command_line")
        self.text.setReadOnly(True)
        self.text.setToolTip("The equivalent command, to run without napari")
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setFixedHeight(self.text.fontMetrics().lineSpacing() * COMMAND_LINES + 16)
        self.copy_button = QPushButton("Copy command")
        self.copy_button.setObjectName("copy_command")
        self.copy_button.clicked.connect(self._copy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addWidget(self.copy_button, alignment=Qt.AlignmentFlag.AlignRight)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def show_job(self, job: LabelJob) -> None:
        """Show the command for a job."""
        self._job = job
        self.text.setPlainText(to_command(job))
        self.copy_button.setEnabled(True)
        self.copy_button.setToolTip(
            f"Also writes the classes to {prompt_file(job)} if they cannot be written inline"
        )

    def show_problem(self, problem: str) -> None:
        """Show why there is no command yet."""
        self._job = None
        self.text.setPlainText(problem)
        self.copy_button.setEnabled(False)
        self.copy_button.setToolTip(problem)

    def _copy(self) -> None:
        from napari.utils.notifications import show_error

        assert self._job is not None  # otherwise the button is disabled
        try:
            save_prompt_file(self._job)
        except DinoiserError as problem:
            show_error(str(problem))
        else:
            QApplication.clipboard().setText(to_command(self._job))


class RunView(QWidget):
    """Shows the progress of a run, here and in napari's activity dock."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = QProgressBar()
        self._bar.setObjectName("folder_progress")
        self._text = QLabel()
        self._text.setObjectName("folder_status")
        self._text.setWordWrap(True)
        self._latest = QLabel()
        self._latest.setObjectName("folder_latest")
        self._latest.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for child in (self._bar, self._text, self._latest):
            layout.addWidget(child)
        self.hide()

    def start(self, output: Path, bar_in_dock: Any) -> None:
        """Start showing a run.

        Parameters
        ----------
        output
            Folder of the results.
        bar_in_dock
            A `napari.utils.progress` of unknown length; the caller closes it.
        """
        self._output, self._dock, self._status = output, bar_in_dock, RunStatus()
        self._shown_at = 0.0
        self._bar.setRange(0, 0)
        self._latest.clear()
        self.say(str(self._status))
        self.show()

    def say(self, text: str) -> None:
        """Show a sentence."""
        self._text.setText(text)

    def show_progress(self, progress: Progress) -> None:
        """Show the progress of the run."""
        self._status.update(progress)
        self._bar.setRange(0, self._status.total)
        self._bar.setValue(self._status.through)
        self._dock.total = self._status.total
        self._dock.update(self._status.through - self._dock.n)
        self.say(str(self._status))
        if time.monotonic() - self._shown_at > SECONDS_AN_IMAGE:
            self._show_latest()

    def show_download(self, file: str, done: int, total: int) -> None:
        """Show the progress of downloading weights, in bytes."""
        self._bar.setRange(0, 100)
        self._bar.setValue(100 * done // max(1, total))
        self.say(f"Downloading {file}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    def _show_latest(self) -> None:
        if self._status.latest is None:
            return
        reader = QImageReader(str(result_file(self._output, self._status.latest.stem, "overlay")))
        size = reader.size()
        if size.isValid():  # False if overlays are not written
            room = QSize(max(1, self.width()), LATEST_HEIGHT).boundedTo(size)
            reader.setScaledSize(size.scaled(room, Qt.AspectRatioMode.KeepAspectRatio))
            self._latest.setPixmap(QPixmap.fromImage(reader.read()))
            self._latest.setToolTip(self._status.latest.image)
            self._shown_at = time.monotonic()


class OutcomeView(QWidget):
    """Shows the outcome of a run, with buttons for its results.

    Attributes
    ----------
    is_problem
        Whether what is shown is why nothing was run.
    """

    review_requested = Signal(str)
    """Emitted with the folder of results to review."""

    def __init__(self) -> None:
        super().__init__()
        self.is_problem = False
        self._output = Path()
        self.text = QLabel()
        self.text.setObjectName("folder_outcome")
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.report = QPushButton("Open report")
        self.report.setObjectName("open_report")
        self.report.setToolTip("Open report.html: class shares, confidence and failures")
        self.report.clicked.connect(self._open_report)
        self.review = QPushButton("Review")
        self.review.setObjectName("review_folder")
        self.review.setToolTip("Check and correct the masks, the worst first")
        self.review.clicked.connect(lambda: self.review_requested.emit(str(self._output)))
        self.review.setFixedHeight(LARGE)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for child in (self.text, self.review, self.report):
            layout.addWidget(child)
        self.hide()

    def show_summary(self, output: Path, summary: Summary) -> None:
        """Show the outcome of a run whose results are in the folder `output`."""
        self._output, self.is_problem = output, False
        lines = [describe_outcome(summary), describe_failures(summary), describe_notes(summary)]
        self._show_text("\n".join(filter(None, lines)))
        self.report.setVisible(self._report_file.is_file())
        self.review.setText(f"Review {summary.done:,} mask{'s' * (summary.done != 1)}")
        self.review.setVisible(summary.done > 0)

    def show_problem(self, problem: str) -> None:
        """Show why nothing was run, without buttons."""
        self.is_problem = True
        self._show_text(problem)

    def _show_text(self, text: str) -> None:
        self.text.setText(text)
        self.report.hide()
        self.review.hide()
        self.show()

    @property
    def _report_file(self) -> Path:
        from dinoiser.batch.folder import REPORT

        return self._output / REPORT

    def _open_report(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._report_file)))
