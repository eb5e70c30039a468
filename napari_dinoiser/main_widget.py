"""The dock widget with its three tabs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QScrollArea, QTabWidget, QVBoxLayout, QWidget

from dinoiser.errors import PromptError
from napari_dinoiser.folder.widget import FolderWidget
from napari_dinoiser.review.widget import ReviewWidget
from napari_dinoiser.segment.widget import SegmentWidget

if TYPE_CHECKING:
    from napari import Viewer

    from dinoiser.prompts import PromptSet
    from napari_dinoiser.model_choice import ModelChoice


class DinoiserWidget(QWidget):
    """Label images with words: one image, a folder, and a review of the results.

    Parameters
    ----------
    napari_viewer
        The viewer; napari passes it under this name.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        # napari passes a proxy, whose layers are proxies, too: a new one at each look, so that no
        # layer would ever be the one that was added before
        viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.segment = SegmentWidget(viewer)
        self.folder = FolderWidget(viewer, self._choice)
        self.review = ReviewWidget(viewer)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("tabs")
        for tab, title in (
            (self.segment, "Segment"),
            (self.folder, "Folder"),
            (self.review, "Review"),
        ):
            self.tabs.addTab(_Page(tab), title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs)
        self.folder.review_requested.connect(self._review)

    def _choice(self) -> tuple[PromptSet | None, ModelChoice]:
        """Return the choices made in the Segment tab, for a whole folder.

        Raises
        ------
        PromptError
            What is wrong in the table.
        """
        if error := self.segment.table.error():
            raise PromptError(error)
        return self.segment.table.prompt_set(), self.segment.choice()

    def label_folder(self, folder: str) -> None:
        """Show the Folder tab with a folder of images."""
        self.tabs.setCurrentIndex(1)
        self.folder.input_folder.line.setText(folder)

    def _review(self, output: str) -> None:
        self.tabs.setCurrentIndex(2)
        self.review.open_job(output)


class _Page(QScrollArea):
    """Scrolls vertically if the window is too low; is always as wide as its tab needs."""

    def __init__(self, tab: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(tab)

    def minimumSizeHint(self) -> QSize:
        """Return the tab's smallest width, with room for the scroll bar."""
        bar = self.verticalScrollBar().sizeHint().width()
        return QSize(self.widget().minimumSizeHint().width() + bar, 100)
