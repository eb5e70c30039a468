"""What the plugin's tests need."""

import shutil

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from dinoiser.batch import run
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.scenes import draw_scene
from napari_dinoiser.segment.widget import SegmentWidget
from tests.job_driver import job_of
from tests.plugin.review_driver import PROMPTS, Reviewer

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
def viewer(make_napari_viewer):
    return make_napari_viewer()


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


@pytest.fixture(scope="session")
def labelled_job(tmp_path_factory):
    """A real job on four drawn scenes."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "in").mkdir()
    rng = np.random.default_rng(5)
    for name in ("a", "b", "c", "d"):
        Image.fromarray(draw_scene(rng, (96, 128)).image).save(folder / "in" / f"{name}.png")
    job = job_of((folder / "in",), folder / "out", PROMPTS)
    assert run(job).done == 4
    return folder / "out"


@pytest.fixture
def job(labelled_job, tmp_path):
    """A copy of it to review."""
    return shutil.copytree(labelled_job, tmp_path / "out")


@pytest.fixture
def reviewer(make_napari_viewer, qtbot):
    person = Reviewer(make_napari_viewer(show=True), qtbot)
    yield person
    person.leave()


@pytest.fixture
def answer():
    """Click a button of the next question that comes up; tells whether one came."""
    asked = []

    def prepare(button):
        def click():
            box = QApplication.activeModalWidget()
            if isinstance(box, QMessageBox):
                asked.append(box.text())
                box.button(button).click()

        QTimer.singleShot(300, click)
        return asked

    return prepare
