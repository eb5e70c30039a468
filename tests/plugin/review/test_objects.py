"""One key for an object in Review: Shift shows it, and a digit gives it a class."""

import gc
import threading

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QEvent, Qt
from scipy import ndimage

from dinoiser.batch import job_encoder, run
from dinoiser.scenes import draw_scene
from napari_dinoiser.class_search import ClassSearch
from tests.helpers.job_driver import job_of
from tests.helpers.pointer import outline, point, send, type_slash
from tests.helpers.review_driver import PROMPTS

PATIENCE = 60_000
"""Milliseconds, in which torch is imported and the model looks."""


@pytest.fixture(params=[False, True], ids=["looked at again", "kept features"])
def scenes(request, tmp_path):
    """Two drawn scenes by name, and the job that labelled them."""
    rng = np.random.default_rng(8)
    drawn = {f"{name}.png": draw_scene(rng, (224, 288)) for name in "ab"}
    (tmp_path / "in").mkdir()
    for name, scene in drawn.items():
        Image.fromarray(scene.image).save(tmp_path / "in" / name)
    job = job_of((tmp_path / "in",), tmp_path / "out", PROMPTS, keep_features=request.param)
    assert run(job).done == 2
    return drawn, tmp_path / "out"


def inner(scene):
    """Return the mask of the scene's largest object, and its innermost pixel."""
    sizes = np.bincount(scene.labels.ravel())
    mask = scene.labels == 1 + sizes[1:].argmax()
    return mask, np.unravel_index(ndimage.distance_transform_edt(mask).argmax(), mask.shape)


def find(reviewer, place):
    """Hold Shift over a place until an object is outlined."""
    point(reviewer.viewer, reviewer.qtbot, place)
    reviewer.qtbot.waitUntil(lambda: outline(reviewer.viewer) is not None, timeout=PATIENCE)
    return outline(reviewer.viewer)


def test_shift_and_a_digit_give_an_object_its_class(scenes, reviewer):
    drawn, output = scenes
    reviewer.open(output)
    for _ in drawn:
        name, layer = reviewer.image, reviewer.labels
        mask, place = inner(drawn[name])
        before = layer.data.copy()
        found = find(reviewer, place)
        assert (found & mask).sum() / (found | mask).sum() > 0.8
        type_slash(reviewer.viewer, 2)
        np.testing.assert_array_equal(layer.data, before)
        search = reviewer.widget.findChild(ClassSearch)
        assert search.isVisible()
        search.hide()
        send(Qt.Key.Key_2)
        label = PROMPTS.classes[2].id
        assert (layer.data[found] == label).all()
        np.testing.assert_array_equal(layer.data[~found], before[~found])
        layer.undo()
        np.testing.assert_array_equal(layer.data, before)
        send(Qt.Key.Key_2)
        send(Qt.Key.Key_Shift, QEvent.Type.KeyRelease)
        assert outline(reviewer.viewer) is None
        reviewer.press(Qt.Key.Key_A)
        saved = np.asarray(Image.open(output / "masks" / name))
        assert (saved[found] == label).all()


def test_a_model_that_cannot_be_loaded_is_said_and_reviewing_goes_on(job, reviewer):
    text = (job / "job.yaml").read_text()
    (job / "job.yaml").write_text(text.replace("name: tiny", "name: gone"))
    reviewer.open(job)
    first = reviewer.image
    point(reviewer.viewer, reviewer.qtbot, (48, 64))
    reviewer.qtbot.waitUntil(lambda: "gone" in reviewer.text("message"), timeout=PATIENCE)
    assert outline(reviewer.viewer) is None
    reviewer.press(Qt.Key.Key_N)
    assert reviewer.image != first


def test_a_model_that_is_loaded_after_the_review_was_closed_goes_at_once(
    job, reviewer, monkeypatch
):
    closed, begun, original = threading.Event(), threading.Event(), job_encoder.load_model

    def late(*args):
        begun.set()
        assert closed.wait(60)
        return original(*args)

    monkeypatch.setattr(job_encoder, "load_model", late)
    reviewer.open(job)
    point(reviewer.viewer, reviewer.qtbot, (48, 64))
    reviewer.qtbot.waitUntil(begun.is_set, timeout=PATIENCE)
    [thread] = [one for one in threading.enumerate() if one.name.startswith("dinoiser")]
    reviewer.viewer.window.remove_dock_widget(reviewer.dock)
    reviewer.qtbot.wait(50)
    closed.set()
    thread.join(60)
    reviewer.qtbot.wait(50)
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is job_encoder.JobEncoder]
