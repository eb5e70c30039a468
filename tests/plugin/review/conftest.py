"""A job to review, and a person at the window."""

import shutil

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from dinoiser.batch import run
from dinoiser.scenes import draw_scene
from tests.helpers.job_driver import job_of
from tests.helpers.review_driver import PROMPTS, Reviewer


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
