"""The choice of the job to review, and of its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QPushButton,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_dinoiser.folder_line import FolderLine
from napari_dinoiser.review.named import named

if TYPE_CHECKING:
    from dinoiser.batch.review_order import Order
    from dinoiser.prompts import PromptSet

ORDERS = {
    "Worst first": "worst",
    "Most work first": "most work",
    "Most useful next": "most useful",
    "File name": "file name",
    "Share of a class": "class share",
}


class ReviewQueue(QWidget):
    """A job's folder, the order of its images, and whether checked ones are hidden."""

    folder_chosen = Signal(str)
    """Emitted with a folder that was typed, dropped or chosen."""
    order_changed = Signal()
    """Emitted when the images must be sorted again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = named(FolderLine(), "job_folder", "Output folder of a job to review")
        self.folder.setPlaceholderText("Job folder")
        self.folder.returnPressed.connect(lambda: self.folder_chosen.emit(self.folder.text()))
        browse = named(QPushButton("Browse …"), "browse_job", "Choose the output folder of a job")
        browse.clicked.connect(self.browse)
        self._order = named(QComboBox(), "order", "Which images come first")
        for text, order in ORDERS.items():
            self._order.addItem(text, order)
        self._order.setItemData(
            list(ORDERS.values()).index("most useful"),
            "Uncertain, and unlike what was reviewed. Needs kept features, else as Worst first",
            Qt.ItemDataRole.ToolTipRole,
        )
        self._class = named(QComboBox(), "order_class", "Images with most of this class first")
        self._unchecked = named(
            QCheckBox("Only unchecked"), "only_unchecked", "Hide images that are already checked"
        )
        self._order.currentIndexChanged.connect(self._tell_order)
        self._class.currentIndexChanged.connect(self._tell_order)
        self._unchecked.toggled.connect(self._tell_order)
        self._class.hide()
        self._lay_out(browse)

    @property
    def order(self) -> Order:
        """The order, see `dinoiser.batch.review_order.sort_images`."""
        return self._order.currentData()

    @property
    def class_id(self) -> int:
        """The class for sorting by share."""
        return self._class.currentData() or 0

    @property
    def only_unchecked(self) -> bool:
        """Whether checked images are hidden."""
        return self._unchecked.isChecked()

    def set_classes(self, prompts: PromptSet) -> None:
        """Offer the classes of a job, with the background last."""
        with signals_blocked(self._class):
            self._class.clear()
            for item in sorted(prompts.classes, key=lambda item: item.background):
                self._class.addItem(item.name, item.id)

    def _lay_out(self, browse: QPushButton) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.folder, 0, 0)
        grid.addWidget(browse, 0, 1)
        grid.addWidget(self._order, 1, 0)
        grid.addWidget(self._unchecked, 1, 1)
        grid.addWidget(self._class, 2, 0)
        grid.setColumnStretch(0, 1)

    def _tell_order(self, *_: Any) -> None:
        self._class.setVisible(self.order == "class share")
        self.order_changed.emit()

    def browse(self) -> None:
        """Let a person choose another job's folder."""
        folder = QFileDialog.getExistingDirectory(self, "Job folder", self.folder.text())
        if folder:
            self.folder_chosen.emit(folder)
