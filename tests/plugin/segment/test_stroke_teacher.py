"""Learn from my strokes: a stroke teaches the rest of the image, and the next one."""

import gc
from weakref import ref

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton
from scipy.ndimage import distance_transform_edt

from dinoiser.prompts import PromptSet
from tests.helpers.segment_driver import child, click, labels_layers, layer_of


@pytest.fixture
def wordless(segment, viewer, scene, finish):
    """A labelled scene, one of whose objects has no word that fits."""
    first, second, _ = scene.names
    viewer.add_image(scene.image, name="scene")
    segment.table.set_prompt_set(PromptSet.from_names(["background", first, second, "grass"]))
    segment.run()
    finish()
    return segment


def stroke(layer, scene):
    """Paint in the middle of the object without a word; return its other pixels."""
    depth = distance_transform_edt(scene.labels == 3)
    middle = np.unravel_index(depth.argmax(), depth.shape)
    layer.brush_size = 12
    with layer.block_history():
        layer.paint(middle, 3)
    beyond = np.hypot(*(np.indices(depth.shape) - np.array(middle)[:, None, None])) > 8
    return (scene.labels == 3) & beyond


def test_a_stroke_labels_the_rest_of_the_object_and_undo_takes_it_back(
    wordless, viewer, scene, finish, qtbot, looks
):
    layer = layer_of(viewer)
    before, seen = layer.data.copy(), len(looks)
    click(wordless, qtbot, "learn_strokes")
    rest = stroke(layer, scene)
    finish()
    assert (before == 3)[rest].mean() < 0.3
    assert (layer.data == 3)[rest].mean() > 0.6
    layer.undo()
    finish()
    np.testing.assert_array_equal(layer.data, before)
    assert len(looks) == seen


def test_with_the_button_off_the_words_are_alone(wordless, viewer, scene, finish, qtbot):
    layer = layer_of(viewer)
    before = layer.data.copy()
    rest = stroke(layer, scene)
    finish()
    np.testing.assert_array_equal(layer.data[rest], before[rest])
    click(wordless, qtbot, "learn_strokes")
    finish()
    assert (layer.data != before)[rest].any()
    click(wordless, qtbot, "learn_strokes")
    finish()
    np.testing.assert_array_equal(layer.data[rest], before[rest])


def test_what_was_learnt_goes_along_to_the_next_image_and_the_prompt_file(
    wordless, viewer, scene, finish, qtbot, tmp_path, monkeypatch
):
    path = tmp_path / "prompts.yaml"
    for dialog in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, dialog, lambda *_: (str(path), ""))
    click(wordless, qtbot, "learn_strokes")
    stroke(layer_of(viewer), scene)
    finish()
    click(wordless.table, qtbot, "save_prompts")
    assert (tmp_path / "prompts.learned.safetensors").exists()

    viewer.add_image(scene.image[:, ::-1].copy(), name="next")
    wordless.run()
    finish()
    next_one = labels_layers(viewer)[-1].data
    there = scene.labels[:, ::-1] == 3
    assert (next_one == 3)[there].mean() > 0.5

    viewer.layers.clear()
    click(wordless, qtbot, "learn_strokes")  # off: loading turns it on
    click(wordless.table, qtbot, "load_prompts")
    viewer.add_image(scene.image[:, ::-1].copy(), name="later")
    wordless.run()
    finish()
    np.testing.assert_array_equal(labels_layers(viewer)[-1].data, next_one)


def test_an_image_that_is_deleted_has_taught_and_leaves_memory(
    segment, viewer, scene, finish, qtbot
):
    first, second, _ = scene.names
    segment.table.set_prompt_set(PromptSet.from_names(["background", first, second, "grass"]))
    click(segment, qtbot, "learn_strokes")
    viewer.add_image(scene.image.copy(), name="scene")
    segment.run()
    finish()
    stroke(layer_of(viewer), scene)
    finish()
    pixels = ref(viewer.layers["scene"].data)
    viewer.layers.clear()

    viewer.add_image(scene.image[:, ::-1].copy(), name="next")
    segment.run()
    finish()
    assert (layer_of(viewer).data == 3)[scene.labels[:, ::-1] == 3].mean() > 0.5
    gc.collect()
    assert pixels() is None


def test_words_saved_alone_are_loaded_alone(
    wordless, viewer, scene, finish, qtbot, tmp_path, monkeypatch
):
    path, earlier = tmp_path / "prompts.yaml", tmp_path / "prompts.learned.safetensors"
    for dialog in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, dialog, lambda *_: (str(path), ""))
    earlier.write_bytes(b"of other words")
    click(wordless.table, qtbot, "save_prompts")
    assert not earlier.exists()
    assert (tmp_path / "prompts.learned.old.safetensors").read_bytes() == b"of other words"
    assert "prompts.learned.old.safetensors" in child(wordless, QLabel, "status").text()
    earlier.write_bytes(b"of others yet")
    click(wordless.table, qtbot, "save_prompts")
    assert (tmp_path / "prompts.learned.old.safetensors").read_bytes() == b"of other words"
    assert (tmp_path / "prompts.learned.old2.safetensors").read_bytes() == b"of others yet"
    click(wordless.table, qtbot, "load_prompts")
    assert not child(wordless, QPushButton, "learn_strokes").isChecked()
