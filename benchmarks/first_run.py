"""The first run in napari, in a process without torch, which `benchmarks.plugin` starts.

It prints the longest pause of the window's thread in milliseconds. The model is the embedded one:
what takes time is the import of torch.
"""

from __future__ import annotations

import sys

import numpy as np
from napari import Viewer
from qtpy.QtWidgets import QApplication

from benchmarks.gap import Gap
from dinoiser.prompts import PromptSet
from napari_dinoiser.segment.widget import SegmentWidget


def main() -> None:
    """Open the tab and run it."""
    viewer = Viewer()
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.models.set_model_name("tiny")
    widget.table.set_prompt_set(PromptSet.from_names(["background", "ball", "box"]))
    viewer.add_image(np.random.default_rng(0).integers(0, 256, (768, 1024, 3), np.uint8))
    QApplication.processEvents()
    assert "torch" not in sys.modules
    print(Gap().during(widget.run, lambda: widget.runner.request is None).worst)
    viewer.close()


if __name__ == "__main__":
    main()
