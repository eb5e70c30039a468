"""The Segment tab, and waiting for its labels."""

import pytest

from dinoiser.models.clip_dinoiser import ClipDinoiser
from napari_dinoiser.segment.widget import SegmentWidget

PATIENCE = 60_000
"""Milliseconds; the first run imports torch and loads the model."""


@pytest.fixture
def looks(monkeypatch):
    """How often the image tower has run."""
    calls, original = [], ClipDinoiser.encode_image

    def encode_image(self, pixels):
        calls.append(pixels.shape)
        return original(self, pixels)

    monkeypatch.setattr(ClipDinoiser, "encode_image", encode_image)
    return calls


@pytest.fixture
def segment(viewer):
    """The Segment tab in a viewer, with the embedded model."""
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="DINOiser")
    widget.models.set_model_name("tiny")
    return widget


@pytest.fixture
def finish(segment, qtbot):
    """Wait until the labels are what the words say."""

    def wait():
        qtbot.waitUntil(
            lambda: not segment._pause.isActive() and segment.runner.request is None,
            timeout=PATIENCE,
        )

    return wait


@pytest.fixture
def labelled(segment, viewer, scene, scene_prompts, finish):
    """The tab after a first run on a scene."""
    viewer.add_image(scene.image, name="scene")
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    return segment
