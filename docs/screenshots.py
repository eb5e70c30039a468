"""The images in these pages: python docs/screenshots.py, with a display.

Draws scenes, labels them with the embedded model, and saves docs/images/demo.jpg and napari-*.jpg.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari import Viewer
from PIL import Image
from qtpy.QtWidgets import QApplication

from dinoiser.export.overlay import with_legend
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.segmenter import Segmenter
from napari_dinoiser.main_widget import DinoiserWidget

if TYPE_CHECKING:
    from dinoiser.scenes import Scene

IMAGES = Path(__file__).parent / "images"
SIZE = (1280, 800)
SEED = 20268


def show_what_it_does(scenes: list[Scene], words: PromptSet) -> None:
    """Save scenes in a row, the embedded model's masks of them below, and the words."""
    segmenter = Segmenter(load_model("tiny"))
    labels = [segmenter.segment(scene.image, words).labels for scene in scenes]
    rows = np.hstack([scene.image for scene in scenes]), words.palette[np.hstack(labels)]
    sheet = with_legend(Image.fromarray(np.vstack(rows)), list(words.classes))
    sheet.save(IMAGES / "demo.jpg", quality=88)


def settle(seconds: float) -> None:
    """Let the window work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def save(viewer: Viewer, name: str) -> None:
    """Save the window as it is."""
    settle(1)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    Image.fromarray(pixels).save(IMAGES / f"napari-{name}.jpg", quality=88)


def segment(viewer: Viewer, widget: DinoiserWidget, scene: np.ndarray, words: PromptSet) -> None:
    """Label a scene by words."""
    viewer.add_image(scene, name="scene")
    widget.segment.table.set_prompt_set(words)
    widget.segment.run()
    while widget.segment.runner.request is not None:
        settle(0.1)
    viewer.reset_view()
    save(viewer, "segment")


def label_folder(viewer: Viewer, widget: DinoiserWidget, folder: Path) -> None:
    """Label a folder with the same words."""
    widget.tabs.setCurrentIndex(1)
    widget.folder.input_folder.line.setText(str(folder))
    widget.folder.run()
    while not widget.folder.run_button.isEnabled():
        settle(0.1)
    save(viewer, "folder")


def review(viewer: Viewer, widget: DinoiserWidget, job: Path) -> None:
    """Open what came of it."""
    viewer.layers.clear()
    settle(1)
    widget.tabs.setCurrentIndex(2)
    widget.review.open_job(job)
    viewer.reset_view()
    save(viewer, "review")


def main() -> None:
    """Save what the tool does, and one image a tab."""
    scenes = list(draw_scenes(12, SEED, (320, 448)))
    names = dict.fromkeys(name for scene in scenes[:3] for name in scene.names)
    words = PromptSet.from_names(["background", *names])
    show_what_it_does(scenes[:3], words)
    viewer = Viewer(title="napari")
    viewer.theme = "dark"
    viewer.window.resize(*SIZE)
    widget = DinoiserWidget(viewer)
    viewer.window.add_dock_widget(widget, name="DINOiser")
    widget.segment.models.set_model_name("tiny")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        for number, scene in enumerate(scenes):
            Image.fromarray(scene.image).save(folder / f"scene_{number:02}.png")
        segment(viewer, widget, scenes[0].image, words)
        label_folder(viewer, widget, folder)
        review(viewer, widget, folder.with_name("photos-labels"))
    viewer.close()


if __name__ == "__main__":
    main()
