"""The model picker: choose the model that labels images, and download it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from dinoiser.errors import DinoiserError
from dinoiser.models.catalog import describe_model, find_model, list_models
from dinoiser.models.open_clip_names import PREFIX
from dinoiser.weights.checkpoint import read_metadata
from napari_dinoiser.triton_import import import_triton

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.qt.threading import FunctionWorker

    from dinoiser.weights.files import WeightFile

DEFAULT_MODEL = "clip-dinoiser"
EMBEDDED_MODEL = "tiny"
HEADS_FILTER = "Heads (*.safetensors *.pt);;All files (*)"
POLL_MILLISECONDS = 100


@dataclass
class DownloadProgress:
    """Progress of a download: written by its thread, read by the window.

    Parameters
    ----------
    file
        Name of the file being downloaded.
    percent
        Share of it that has been downloaded.
    """

    file: str = ""
    percent: int = 0

    def __call__(self, file: str, done: int, total: int) -> None:
        """Note the bytes downloaded and the total bytes."""
        self.file, self.percent = file, 100 * done // max(total, 1)


def fetch_files(
    files: Sequence[WeightFile], progress: DownloadProgress, cancelled: Callable[[], bool]
) -> str:
    """Fetch weights files; return a sentence about what went wrong, empty if nothing did."""
    from dinoiser.weights.fetch import fetch_all

    try:
        fetch_all(files, progress, cancelled)
    except DinoiserError as error:
        return str(error)
    return ""


class ModelPicker(QWidget):
    """Choose a model, see what it is, and download it.

    The default model is preselected if it is on this machine, otherwise the embedded one.

    Parameters
    ----------
    parent
        Parent widget.
    """

    model_changed = Signal()
    """Emitted when `model_name` or `heads` changes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._heads: Path | None = None
        self._worker: FunctionWorker | None = None
        self._progress = DownloadProgress()
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MILLISECONDS)
        self._create_children()
        self._lay_out()
        self._fill()
        self._connect()
        self.refresh()

    def model_name(self) -> str:
        """Return the name of the chosen model."""
        return self._combo.currentText()

    def set_model_name(self, name: str) -> None:
        """Choose a model; one of open_clip, which is not listed, is added to the list.

        Raises
        ------
        UnknownModelError, ModelError
            See `find_model`.
        """
        if name.startswith(PREFIX):
            import_triton()  # open_clip imports torch
        entry = find_model(name)
        if self._combo.findText(entry.name) < 0:
            self._combo.addItem(entry.name)
        self._combo.setCurrentText(entry.name)

    def heads(self) -> Path | None:
        """Return the file of custom heads; None for the model's own, or if it takes none."""
        return self._heads if self._takes_heads() else None

    def set_heads(self, path: Path | None) -> None:
        """Choose the file of custom heads, and the model to which they were fitted."""
        self._heads = path
        if path is not None:
            self._choose_clip_of(path)
        self._on_change()

    def refresh(self) -> None:
        """Check again which files are on this machine, and update the display."""
        model = describe_model(self.model_name())
        missing = bool(self._missing_files())
        place = "not downloaded yet" if missing else "on this machine"
        self._info.setText(f"{model.licence} · {model.size / 1e6:.0f} MB · {place}")
        self._combo.setToolTip(model.description)
        running = self._worker is not None
        self._download_button.setVisible(missing and not running)
        self._bar.setVisible(running)
        self._cancel_button.setVisible(running)
        heads = self.heads()
        self._heads_button.setVisible(self._takes_heads())
        self._heads_label.setText(f"with {heads.name}" if heads else "")
        self._heads_label.setToolTip(str(heads or ""))
        self._heads_label.setVisible(heads is not None)
        self._drop_heads.setVisible(heads is not None)

    def _create_children(self) -> None:
        self._combo = QComboBox()
        self._heads_button, self._drop_heads = QPushButton("Heads…"), QPushButton("×")
        self._info, self._heads_label = QLabel(), QElidingLabel()
        self._download_button, self._cancel_button = QPushButton("Download"), QPushButton("Cancel")
        self._bar = QProgressBar()
        self._drop_heads.setFixedWidth(28)
        self._info.setWordWrap(True)
        self._heads_label.setElideMode(Qt.TextElideMode.ElideMiddle)
        children = (
            (self._combo, "model_picker", "The model that labels the images"),
            (self._heads_button, "heads", "Use heads from a file, such as those you fitted"),
            (self._drop_heads, "drop_heads", "Use the model's own heads again"),
            (self._info, "model_info", "Licence, size, and whether the model can be used offline"),
            (self._heads_label, "heads_file", ""),
            (self._download_button, "download", "Download the model; needed only once"),
            (self._cancel_button, "cancel_download", "Stop; what is downloaded is kept"),
            (self._bar, "download_progress", ""),
        )
        for child, name, tooltip in children:
            child.setObjectName(name)
            child.setToolTip(tooltip)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        lines = (
            (self._combo, self._heads_button),
            (self._info,),
            (self._heads_label, self._drop_heads),
            (self._download_button, self._bar, self._cancel_button),
        )
        for children in lines:
            line = QHBoxLayout()
            line.setSpacing(4)
            for child in children:
                line.addWidget(child, int(child is children[0]))
            layout.addLayout(line)

    def _fill(self) -> None:
        models = list_models()
        for index, model in enumerate(models):
            self._combo.addItem(model.name)
            self._combo.setItemData(index, model.description, Qt.ItemDataRole.ToolTipRole)
        cached = {model.name for model in models if model.cached}
        self._combo.setCurrentText(DEFAULT_MODEL if DEFAULT_MODEL in cached else EMBEDDED_MODEL)

    def _connect(self) -> None:
        self._combo.currentTextChanged.connect(self._on_change)
        self._heads_button.clicked.connect(self._choose_heads)
        self._drop_heads.clicked.connect(lambda: self.set_heads(None))
        self._download_button.clicked.connect(self._start_download)
        self._cancel_button.clicked.connect(self._cancel_download)
        self._timer.timeout.connect(self._show_progress)

    def _takes_heads(self) -> bool:
        return find_model(self.model_name()).takes_heads

    def _missing_files(self) -> list[WeightFile]:
        entry = find_model(self.model_name())
        spared = entry.heads if self.heads() else None
        return [file for file in entry.files if file is not spared and file.locate() is None]

    def _on_change(self) -> None:
        self.refresh()
        self.model_changed.emit()

    def _choose_heads(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose heads", "", HEADS_FILTER)
        if path:
            self.set_heads(Path(path))

    def _choose_clip_of(self, heads: Path) -> None:
        """Choose the open_clip model to which heads were fitted, if any."""
        with suppress(DinoiserError):  # reported when the heads are loaded
            name = read_metadata(heads).get("model", "")
            if name.startswith(PREFIX):
                self.set_model_name(name)

    def _start_download(self) -> None:
        from napari.qt.threading import create_worker

        self._progress = DownloadProgress()
        worker: FunctionWorker = create_worker(
            fetch_files, self._missing_files(), self._progress, lambda: worker.abort_requested
        )
        worker.returned.connect(_show_problem)
        worker.finished.connect(self._end_download)
        self.destroyed.connect(worker.quit)
        self._worker = worker
        self._cancel_button.setEnabled(True)
        self._show_progress()
        self._timer.start()
        worker.start()
        self.refresh()

    def _cancel_download(self) -> None:
        self._cancel_button.setEnabled(False)
        if self._worker is not None:
            self._worker.quit()

    def _show_progress(self) -> None:
        self._bar.setValue(self._progress.percent)
        self._bar.setToolTip(self._progress.file)

    def _end_download(self) -> None:
        self._timer.stop()
        self._worker = None
        self.refresh()


def _show_problem(sentence: str) -> None:
    from napari.utils.notifications import show_error

    if sentence:
        show_error(sentence)
