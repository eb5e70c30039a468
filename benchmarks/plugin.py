"""Time from a changed word to new labels on screen: python -m benchmarks.plugin, with a display.

The image has 1024 x 768 pixels, with 20 classes and a full-size CLIP-DINOiser
with random weights. In each round, one word in the prompt table is changed to a
new one. Then the image itself is changed, so that the image tower runs again for
the same words. Finally, memory is measured in a viewer in which 50 images are
opened, labelled and closed, one after another.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import psutil
import torch
from napari import Viewer
from qtpy.QtWidgets import QApplication

from benchmarks.setting import (
    PROMPTS,
    describe_machine,
    random_image,
    random_model,
    seconds,
)
from dinoiser.models.device import resolve_precision
from napari_dinoiser.prompts.table_model import Column
from napari_dinoiser.segment.encoder import Encoder
from napari_dinoiser.segment.widget import SegmentWidget

ROUNDS = 20
IMAGES = 50


def settle(widget: SegmentWidget) -> None:
    """Process events until the labels match the words and are drawn."""
    QApplication.processEvents()
    while widget._pause.isActive() or widget.runner.request is not None:
        QApplication.processEvents()
        time.sleep(0.001)
    QApplication.processEvents()


def change_a_word(widget: SegmentWidget, number: int) -> None:
    """Change the word in a row of the table."""
    model = widget.table.findChild(object, "prompt_table").model()
    row = number % model.rowCount()
    model.setData(model.index(row, Column.NAME), f"word number {number}")
    settle(widget)


def look_again(widget: SegmentWidget) -> None:
    """Change the image and label it again."""
    layer = widget.picker.layer()
    layer.data = layer.data.copy()
    widget.run()
    settle(widget)


def show_an_image(widget: SegmentWidget, number: int) -> None:
    """Open an image, label it, and close it."""
    widget.viewer.add_image(np.roll(random_image(768, 1024), number, 0))
    widget.run()
    settle(widget)
    widget.viewer.layers.clear()
    settle(widget)  # napari's canvas does not survive a new layer at this moment


def main() -> None:
    """Print times, their ratio, and memory."""
    describe_machine()
    model = random_model(resolve_precision("auto", torch.device("cpu")))
    viewer = Viewer()
    widget = SegmentWidget(viewer, Encoder(load=lambda *_, **__: model))
    viewer.window.add_dock_widget(widget)
    widget.table.set_prompt_set(PROMPTS)
    viewer.add_image(random_image(768, 1024))
    widget.run()
    settle(widget)
    change_a_word(widget, ROUNDS)
    words = [seconds(lambda i=i: change_a_word(widget, i)) for i in range(ROUNDS)]
    looks = [seconds(lambda: look_again(widget)) for _ in range(5)]
    word, look = statistics.median(words), statistics.median(looks)
    print(f"a new word: median {word:.2f} s, worst {max(words):.2f} s; ", end="")
    print(f"with the tower: {look:.2f} s, {look / word:.1f} times as long")
    viewer.layers.clear()
    settle(widget)
    memory = []
    for number in range(IMAGES):
        show_an_image(widget, number)
        memory.append(psutil.Process().memory_info().rss / 2**20)
    print(f"memory after 10 images {memory[9]:.0f} MB, after {IMAGES} {memory[-1]:.0f} MB")
    viewer.close()


if __name__ == "__main__":
    main()
