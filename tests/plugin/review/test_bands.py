"""Jobs of chosen bands in napari: reviewed, opened and improved as they were labelled."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from dinoiser.batch import export
from dinoiser.images import read_image
from napari_dinoiser.files.readers import read_coco, read_job_folder
from napari_dinoiser.review.review_session import ReviewSession
from tests.helpers.band_jobs import READING, draw_twice
from tests.helpers.taught_jobs import accept, label


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return draw_twice(tmp_path_factory.mktemp("scenes"), 10)


@pytest.fixture
def job(scenes, tmp_path):
    assert label(scenes[1], tmp_path / "out", **READING).done == 10
    return tmp_path / "out"


def test_the_review_shows_them(job, scenes):
    session = ReviewSession(job)
    session.arrange()
    seen = set()
    while session.current is not None:
        name = session.labelled.image
        np.testing.assert_array_equal(session.current.image, read_image(scenes[0] / name))
        seen.add(name)
        if not session.move(1):
            break
    assert len(seen) == 10


def test_opened_folders_and_coco_files_show_them(job, scenes):
    export(job, ["coco"])
    for layers in (read_job_folder(str(job)), read_coco(str(job / "annotations.json"))):
        images = np.asarray(layers[0][0])
        for i in range(10):
            np.testing.assert_array_equal(images[i], read_image(scenes[0] / f"{i}.tif"))


@pytest.mark.slow
def test_the_job_is_improved_in_the_window(job, scenes, reviewer):
    accept(job, scenes[2], 5)
    reviewer.open(job)
    shown = reviewer.viewer.layers[0].data
    name = reviewer.widget._session.labelled.image
    np.testing.assert_array_equal(shown, read_image(scenes[0] / name))
    button = reviewer.child(QPushButton, "improve")
    with reviewer.qtbot.waitSignal(reviewer.widget.job_opened, timeout=120_000):
        reviewer.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    reviewer.settle()
    assert "Learnt from 5 masks" in reviewer.text("improve_text")
