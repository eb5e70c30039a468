"""The Segment tab, and waiting for its labels."""

import pytest

from dinoiser.models.clip_dinoiser import ClipDinoiser

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
    """The Segment tab, opened as users open it, with the embedded model."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-dinoiser", "DINOiser")
    widget.segment.models.set_model_name("tiny")
    return widget.segment


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
