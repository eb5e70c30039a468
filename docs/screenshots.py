"""The images in these pages: python docs/screenshots.py, with a display and Chromium.

Draws scenes, labels them with the embedded model, and saves docs/images/*: what the tool does
(demo), the steps of the tutorials (napari-*, overlay), and a report.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari import Viewer
from PIL import Image
from qtpy.QtWidgets import QApplication

from dinoiser.batch import LabelJob, Labelling, Running, run
from dinoiser.cli import demo
from dinoiser.export.overlay import with_legend
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.segmenter import Segmenter
from napari_dinoiser.main_widget import DinoiserWidget

if TYPE_CHECKING:
    from dinoiser.scenes import Scene

IMAGES = Path(__file__).resolve().parent / "images"
SIZE = (1280, 800)
SEED = 20268
SAMPLE_WORDS = "background, white ring, yellow triangle, blue circle"
"""What is in the plugin's sample scene."""
FIRST_WORDS = "background, star, square, circle, triangle"
"""What the tutorial of the command line begins with; the ring that it lacks comes later."""


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
    """Save the window with all of the image in view."""
    settle(1)
    viewer.reset_view()
    settle(1)
    pixels = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    Image.fromarray(pixels).save(IMAGES / f"napari-{name}.jpg", quality=88)


def type_words(viewer: Viewer, widget: DinoiserWidget) -> None:
    """Open the sample scene and type what is in it."""
    viewer.open_sample("napari-dinoiser", "scene")
    widget.segment.table.set_prompt_set(PromptSet.parse(SAMPLE_WORDS))
    save(viewer, "words")


def segment(widget: DinoiserWidget) -> None:
    """Press Run, and wait for the labels."""
    widget.segment.run()
    while widget.segment.runner.request is not None:
        settle(0.1)


def correct(viewer: Viewer) -> None:
    """Paint the first class as it is drawn."""
    labels = viewer.layers["labels of drawn scene"]
    labels.mode = "paint"
    labels.selected_label = 1
    labels.brush_size = 8
    rows, columns = np.nonzero(viewer.layers["true labels"].data == 1)
    for place in list(zip(rows, columns, strict=True))[::20]:
        labels.paint(place, 1)
    save(viewer, "edit")


def label_folder(
    viewer: Viewer, widget: DinoiserWidget, scenes: list[Scene], words: PromptSet
) -> None:
    """Choose words on one image of a folder, and label all of it."""
    viewer.layers.clear()
    viewer.add_image(scenes[0].image, name="scene")
    widget.segment.table.set_prompt_set(words)
    segment(widget)
    save_scenes(scenes, Path("photos"))
    widget.tabs.setCurrentIndex(1)
    widget.folder.input_folder.line.setText("photos")
    widget.folder.output_folder.line.setText("photos-labels")
    widget.folder.run()
    while not widget.folder.run_button.isEnabled():
        settle(0.1)
    save(viewer, "folder")


def review(viewer: Viewer, widget: DinoiserWidget) -> None:
    """Open what came of the folder."""
    viewer.layers.clear()
    settle(1)
    widget.tabs.setCurrentIndex(2)
    widget.review.open_job("photos-labels")
    save(viewer, "review")


def save_scenes(scenes: list[Scene], folder: Path) -> None:
    """Save images to label."""
    folder.mkdir(parents=True)
    for number, scene in enumerate(scenes, start=1):
        Image.fromarray(scene.image).save(folder / f"scene-{number}.png")


def show_command_line() -> None:
    """Do what the tutorial does, and save a preview of each run and the last report."""
    images, labels = Path("demo-output/images"), Path("labels")
    save_scenes(list(draw_scenes(demo.IMAGES, demo.IMAGE_SEED, demo.IMAGE_SIZE)), images)
    for name, words in {
        "overlay": FIRST_WORDS,
        "overlay-ring": f"{FIRST_WORDS}, ring; hoop",
    }.items():
        labelling = Labelling(PromptSet.parse(words), "tiny")
        run(LabelJob((images,), labels, labelling, running=Running(overwrite=True)))
        shutil.copy(labels / "overlays" / "scene-4.jpg", IMAGES / f"{name}.jpg")
    browser = shutil.which("chromium") or "google-chrome"
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,980"]
    target = f"--screenshot={IMAGES / 'report.png'}"
    page = (labels / "report.html").resolve().as_uri()
    subprocess.run([browser, *options, target, page], check=True)


def main() -> None:
    """Save what the tool does, the results on the command line, and the steps in napari."""
    scenes = list(draw_scenes(12, SEED, (320, 448)))
    names = dict.fromkeys(name for scene in scenes[:3] for name in scene.names)
    words = PromptSet.from_names(["background", *names])
    show_what_it_does(scenes[:3], words)
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        show_command_line()
    viewer = Viewer(title="napari")
    viewer.theme = "dark"
    viewer.window.resize(*SIZE)
    widget = DinoiserWidget(viewer)
    viewer.window.add_dock_widget(widget, name="DINOiser")
    widget.segment.models.set_model_name("tiny")
    type_words(viewer, widget)
    segment(widget)
    save(viewer, "segment")
    correct(viewer)
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        label_folder(viewer, widget, scenes, words)
        review(viewer, widget)
    viewer.close()


if __name__ == "__main__":
    main()
