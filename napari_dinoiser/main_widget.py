"""The dock widget: three tabs, each a class of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QTabWidget, QVBoxLayout, QWidget

from napari_dinoiser.folder_widget import FolderWidget
from napari_dinoiser.review_widget import ReviewWidget
from napari_dinoiser.segment_widget import SegmentWidget

if TYPE_CHECKING:
    from napari import Viewer


class DinoiserWidget(QWidget):
    """Label pictures with words: one picture, a folder, and what came of it.

    Parameters
    ----------
    napari_viewer
        napari gives it by this name.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.segment = SegmentWidget(napari_viewer)
        self.folder = FolderWidget(napari_viewer, self._choice)
        self.review = ReviewWidget(napari_viewer)
        self._tabs = QTabWidget()
        self._tabs.setObjectName("tabs")
        for tab, title in (
            (self.segment, "Segment"),
            (self.folder, "Folder"),
            (self.review, "Review"),
        ):
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setFrameShape(QScrollArea.Shape.NoFrame)
            area.setWidget(tab)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            bar = area.verticalScrollBar().sizeHint().width()
            area.setMinimumWidth(tab.minimumSizeHint().width() + bar)
            self._tabs.addTab(area, title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._tabs)
        self.folder.review_requested.connect(self._review)

    def _choice(self) -> dict[str, Any]:
        """Give what the Segment tab says, for a whole folder."""
        choice = self.segment.choice()
        return {
            "prompts": self.segment.table.prompt_set(),
            "model": choice.name,
            "heads": choice.heads,
            "device": choice.device,
            "settings": choice.settings,
        }

    def _review(self, output: str) -> None:
        self._tabs.setCurrentIndex(2)
        self.review.open_job(output)
