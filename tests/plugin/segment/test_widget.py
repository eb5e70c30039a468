"""The Segment tab in a real viewer, driven by its own controls."""

import gc
import threading

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QTableView,
)
from superqt import QCollapsible

from dinoiser.export import regions
from dinoiser.export.png import write_mask
from dinoiser.prompts import PromptSet
from napari_dinoiser.label_layers import prompts_of_layer
from tests.helpers.segment_driver import child, click, labels_layers, layer_of, mean_iou


def test_typed_words_become_the_right_mask(segment, viewer, scene, finish, qtbot):
    viewer.add_image(scene.image, name="scene")
    click(segment, qtbot, "add_class")
    table = child(segment, QTableView, "prompt_table")
    for name in scene.names:  # Enter goes on to the next row
        editor = table.viewport().findChildren(QLineEdit)[-1]
        qtbot.keyClicks(editor, name)
        qtbot.keyClick(editor, Qt.Key.Key_Return)
        qtbot.wait(1)
    child(segment, QCheckBox, "background").setChecked(True)
    click(segment, qtbot, "run")
    finish()
    layer = layer_of(viewer)
    assert mean_iou(layer.data, scene, ["background", *scene.names]) > 0.8
    assert layer.features["class"].tolist() == ["background", *scene.names, "ignore"]
    assert layer.colormap.map(0)[3] == 0


def test_a_changed_word_needs_no_new_look_and_changes_that_class_only(
    segment, viewer, scene, finish, looks
):
    first, second, third = scene.names
    viewer.add_image(scene.image)
    segment.table.set_prompt_set(PromptSet.from_names(["background", first, second, "grass"]))
    segment.run()
    finish()
    before, number_of_looks = layer_of(viewer).data.copy(), len(looks)
    model = child(segment, QTableView, "prompt_table").model()
    model.setData(model.index(2, 2), third)
    finish()
    after = layer_of(viewer).data
    assert len(looks) == number_of_looks
    assert (after == 3)[scene.labels == 3].mean() > 0.8
    changed = before != after
    assert changed.any()
    # edges move a little for the others too, where a class beside them has come or gone
    assert ((before == 3) | (after == 3))[changed].mean() > 0.98


def test_words_that_are_typed_during_the_run_count(segment, viewer, scene, scene_prompts, finish):
    viewer.add_image(scene.image)
    segment.table.set_prompt_set(PromptSet.from_names(["background", "red star"]))
    segment.run()
    segment.table.set_prompt_set(scene_prompts)
    finish()
    layer = layer_of(viewer)
    assert prompts_of_layer(layer.metadata, layer.features) == scene_prompts
    assert mean_iou(layer.data, scene, list(scene_prompts.names)) > 0.8


def test_painted_pixels_stay_when_a_word_changes(labelled, viewer, scene_prompts, finish, qtbot):
    layer = layer_of(viewer)
    layer.brush_size = 9
    layer.paint((50, 50), 2)
    fewer = PromptSet(scene_prompts.classes[:3])
    labelled.table.set_prompt_set(fewer)
    finish()
    assert (layer.data[48:53, 48:53] == 2).all()
    assert layer is layer_of(viewer)
    painted = layer.data.copy()
    click(labelled, qtbot, "clear_edits")
    assert (layer.data != painted).any()
    labelled.run()
    finish()
    assert (layer.data[48:53, 48:53] != 2).any()


def test_a_colour_and_the_visible_classes_are_looks_only(labelled, viewer, scene_prompts):
    layer, first = layer_of(viewer), scene_prompts.classes[1]
    labelled.table.set_color(first.id, "#123456")
    assert np.allclose(layer.colormap.map(first.id)[:3], np.array([0x12, 0x34, 0x56]) / 255)
    model = child(labelled, QTableView, "prompt_table").model()
    unchecked = Qt.CheckState.Unchecked.value
    assert model.setData(model.index(0, 0), unchecked, Qt.ItemDataRole.CheckStateRole)
    assert layer.colormap.map(first.id)[3] == 0
    assert (layer.data == first.id).any()


def test_the_status_bar_says_the_class_its_probability_and_two_others(labelled, viewer, scene):
    layer = layer_of(viewer)
    place = np.argwhere(scene.labels == 1).mean(0).round()
    text = layer.get_status(tuple(place), world=True)["coordinates"]
    name = layer.features.set_index("index")["class"][layer.data[tuple(place.astype(int))]]
    tail = text.rsplit("; ", 1)[1].split(", ")
    assert len(tail) == 3
    assert tail[0].rsplit(" ", 1)[0] == name
    assert 0.3 < float(tail[0].rsplit(" ", 1)[1]) <= 1


def test_pixels_below_the_threshold_are_ignored(labelled, viewer, finish):
    labelled.advanced.set_ignore_below(0.9)
    finish()
    share = (layer_of(viewer).data == 255).mean()
    assert 0 < share < 0.5


def test_cancelling_leaves_the_labels_as_they_are(
    labelled, viewer, scene, finish, qtbot, monkeypatch
):
    from dinoiser.models.clip_dinoiser import ClipDinoiser

    begun, stopped = threading.Event(), threading.Event()
    original = ClipDinoiser.encode_image

    def slowly(self, pixels):
        begun.set()
        assert stopped.wait(60)
        return original(self, pixels)

    monkeypatch.setattr(ClipDinoiser, "encode_image", slowly)
    before = layer_of(viewer).data.copy()
    viewer.layers["scene"].data = np.concatenate([scene.image[::-1]] * 12, 1)
    labelled.run()
    qtbot.waitUntil(begun.is_set, timeout=20_000)
    button = child(labelled, QPushButton, "run")
    assert button.text() == "Cancel"
    click(labelled, qtbot, "run")
    stopped.set()
    finish()
    np.testing.assert_array_equal(layer_of(viewer).data, before)
    assert button.text() == "Run"


def test_ignored_pixels_have_a_line_below_the_words_once_there_can_be_any(labelled, viewer, finish):
    line = child(labelled, QLabel, "ignored")
    assert line.isHidden()
    labelled.advanced.set_ignore_below(0.9)
    finish()
    assert not line.isHidden()
    assert "ignored (255): confidence below 0.9" in line.text()
    shown = viewer.layers["labels of scene"].colormap.map(255)[:3] * 255
    assert QColor(*shown.round().astype(int).tolist()).name() in line.text()
    labelled.advanced.set_ignore_below(0)
    finish()
    assert line.isHidden()
    layer_of(viewer).paint((20, 20), 255)
    assert not line.isHidden()
    assert "ignored (255)" in line.text()


def test_what_is_missing_is_said_in_one_sentence(segment, viewer, scene, finish, monkeypatch):
    said = []
    monkeypatch.setattr("napari.utils.notifications.show_error", said.append)
    segment.run()
    viewer.add_image(scene.image)
    segment.run()
    segment.table.set_prompt_set(PromptSet.parse("dog, cat"))
    segment.models.set_model_name("clip-dinoiser")  # which is not on this machine
    segment.run()
    finish()
    assert len(said) == 3
    assert "no image" in said[0]
    assert "no class" in said[1]
    assert "DINOISER_OFFLINE" in said[2]
    assert child(segment, QLabel, "status").text() == said[2]
    assert not labels_layers(viewer)
    segment.models.set_model_name("tiny")
    segment.run()
    finish()
    assert len(labels_layers(viewer)) == 1


def test_closing_the_viewer_during_a_run_leaves_nothing_behind(
    segment, viewer, scene, scene_prompts, qtbot
):
    viewer.add_image(np.concatenate([scene.image] * 40, 1))
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(60_000)


def test_coming_back_to_an_image_brings_its_labels_up_to_date(
    labelled, viewer, scene, scene_prompts, finish, looks
):
    viewer.add_image(scene.image[::-1], name="other")
    picker = child(labelled, QComboBox, "image_picker")
    assert picker.currentText() == "other"
    labelled.run()
    finish()
    fewer = PromptSet(scene_prompts.classes[:2])
    labelled.table.set_prompt_set(fewer)
    finish()
    assert set(np.unique(viewer.layers["labels of scene"].data)) > {0, 1}
    number_of_looks = len(looks)
    picker.setCurrentIndex(picker.findText("scene"))
    finish()
    assert set(np.unique(viewer.layers["labels of scene"].data)) == {0, 1}
    assert len(looks) == number_of_looks


def test_the_widget_can_be_taken_away_and_the_viewer_used_on(labelled, viewer, scene, qtbot):
    viewer.window.remove_dock_widget("all")
    qtbot.wait(50)
    image = viewer.add_image(scene.image)
    image.data = scene.image[::-1]
    image.name = "renamed"
    viewer.layers.remove(image)
    labels = layer_of(viewer)
    other = int(labels.data[5, 5] == 0)
    labels.paint((5, 5), other)
    assert labels.data[5, 5] == other
    labels.undo()
    assert labels.data[5, 5] != other


def test_what_was_painted_comes_back_with_a_labels_layer_that_was_removed(
    labelled, viewer, finish, looks
):
    layer = layer_of(viewer)
    layer.brush_size = 9
    layer.paint((50, 50), 2)
    viewer.layers.remove(layer)
    labelled.run()
    finish()
    assert not looks
    assert (layer_of(viewer).data[48:53, 48:53] == 2).all()
    layer_of(viewer).undo()
    assert not (layer_of(viewer).data[48:53, 48:53] == 2).all()


def test_a_labels_layer_removed_during_a_run_comes_back_with_what_was_painted(
    labelled, viewer, finish
):
    layer = layer_of(viewer)
    layer.brush_size = 9
    layer.paint((50, 50), 2)
    labelled.run()
    viewer.layers.remove(layer)
    finish()
    assert (layer_of(viewer).data[48:53, 48:53] == 2).all()


def test_another_layer_can_be_taken_as_painted(labelled, viewer, scene_prompts, finish):
    other = np.zeros(layer_of(viewer).data.shape, np.int32)
    other[:10, :20], other[20:30, :20] = 1, 2
    mine, before = layer_of(viewer), layer_of(viewer).data.copy()
    viewer.add_labels(other, name="from elsewhere")
    take_labels(labelled, "from elsewhere")
    labelled.table.set_prompt_set(PromptSet(scene_prompts.classes[:3]))
    finish()
    assert (mine.data[:10, :20] == 1).all()
    assert (mine.data[20:30, :20] == 2).all()
    labelled.table.set_prompt_set(scene_prompts)
    finish()
    mine.undo()
    np.testing.assert_array_equal(mine.data, before)


@pytest.mark.parametrize(
    "store",
    [
        lambda labels: {"data": da.from_array(labels, chunks=64)},
        lambda labels: {
            "data": [da.from_array(level, chunks=64) for level in (labels, labels[::2, ::2])],
            "multiscale": True,
        },
    ],
    ids=["lazy", "pyramid"],
)
def test_labels_of_a_store_can_be_taken_ignored_pixels_included(labelled, viewer, store):
    mine = layer_of(viewer)
    labels = np.zeros(mine.data.shape, np.uint8)
    labels[:10, :20], labels[20:30, :20] = 2, 255
    viewer.add_labels(**store(labels), name="stored")
    take_labels(labelled, "stored")
    assert (mine.data[:10, :20] == 2).all()
    assert (mine.data[20:30, :20] == 255).all()


def test_a_mask_file_can_be_taken_as_painted(
    labelled, viewer, scene_prompts, tmp_path, monkeypatch
):
    mask = np.zeros(layer_of(viewer).data.shape, np.uint8)
    mask[:10, :20] = 2
    write_mask(mask, scene_prompts, tmp_path / "mask.png")
    path = str(tmp_path / "mask.png")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (path, ""))
    take_labels(labelled, "From a file…")
    assert (layer_of(viewer).data[:10, :20] == 2).all()


@pytest.mark.parametrize(
    ("change", "told"), [(lambda data: data[:-1], "shape"), (lambda data: data + 77, "77")]
)
def test_labels_that_do_not_fit_are_not_taken(labelled, viewer, monkeypatch, change, told):
    said = []
    monkeypatch.setattr("napari.utils.notifications.show_error", said.append)
    mine, before = layer_of(viewer), layer_of(viewer).data.copy()
    viewer.add_labels(change(np.zeros(before.shape, np.int32)), name="other")
    take_labels(labelled, "other")
    assert told in said[0]
    np.testing.assert_array_equal(mine.data, before)


def test_a_file_that_holds_no_mask_is_not_taken(labelled, monkeypatch, tmp_path):
    (tmp_path / "coco.json").write_text("{}")
    path, said = str(tmp_path / "coco.json"), []
    monkeypatch.setattr("napari.utils.notifications.show_error", said.append)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (path, ""))
    take_labels(labelled, "From a file…")
    [sentence] = said
    assert path in sentence
    assert sentence.endswith("; choose another file")


def take_labels(widget, name):
    menu = child(widget, QPushButton, "take_labels").menu()
    menu.aboutToShow.emit()
    next(action for action in menu.actions() if action.text() == name).trigger()


def test_an_image_changed_in_place_is_looked_at_again(labelled, viewer, scene, finish, looks):
    image = viewer.layers["scene"]
    image.data = scene.image.copy()  # other tests need the scene as it is
    labelled.run()
    finish()
    looks.clear()
    image.data[...] = scene.image[::-1]
    image.refresh()
    labelled.run()
    finish()
    assert looks
    names = list(labelled.table.prompt_set().names)
    assert mean_iou(layer_of(viewer).data[::-1], scene, names) > 0.8


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tiny", "like an object"),
        ("talk2dino-vitb", "none of the classes"),
        ("maskclip", "the word"),
    ],
)
def test_the_background_box_says_what_it_means_to_the_model(segment, name, told):
    segment.models.set_model_name("clip-dinoiser")
    segment.models.set_model_name(name)
    assert told in child(segment, QCheckBox, "background").toolTip()


def test_the_controls_have_names_and_tooltips(segment):
    names = {
        QComboBox: ("image_picker", "model_picker"),
        QTableView: ("prompt_table",),
        QPushButton: (
            "add_class", "remove_class", "run",
            "load_prompts", "save_prompts", "clear_edits",
        ),
        QCheckBox: ("background",),
        QRadioButton: ("show_labels", "show_confidence", "show_heatmap"),
        QCollapsible: ("advanced",),
    }  # fmt: skip
    for kind, some in names.items():
        for name in some:
            assert child(segment, kind, name).toolTip()


def test_objects_that_touch_are_numbered_in_a_layer_of_their_own(segment, viewer, finish, qtbot):
    rows, columns = np.mgrid[:160, :240]
    discs = [(rows - 80) ** 2 + (columns - x) ** 2 < 30**2 for x in (90, 142)]
    image = np.full((160, 240, 3), 235, np.uint8)
    image[np.any(discs, 0)] = (200, 20, 20)
    viewer.add_image(image)
    segment.table.set_prompt_set(PromptSet.parse("background, red circle"))
    segment.run()
    finish()
    layer_of(viewer).data[...] = np.any(discs, 0)
    layer_of(viewer).data[5:8, 5:8] = 1  # a speck, which does not count
    status = child(segment, QLabel, "status")
    for _ in range(2):  # the second time replaces the first
        status.setText("")
        click(segment, qtbot, "objects")
        qtbot.waitUntil(lambda: status.text() == "2 objects", timeout=20_000)
    [objects] = [layer for layer in viewer.layers if layer.name.startswith("objects of")]
    assert [int(objects.data[80, x]) for x in (80, 152, 10)] == [1, 2, 0]
    assert not objects.data[5:8, 5:8].any()


def test_objects_that_are_numbered_after_the_widget_is_gone_are_not_shown(
    labelled, viewer, qtbot, monkeypatch
):
    gone, original = threading.Event(), regions.number_objects

    def late(labels, options):
        assert gone.wait(60)
        return original(labels, options)

    monkeypatch.setattr(regions, "number_objects", late)
    click(labelled, qtbot, "objects")
    viewer.window.remove_dock_widget("all")
    qtbot.wait(50)
    gc.collect()  # nobody holds the panel any more, to which the widget belongs
    gone.set()
    with qtbot.captureExceptions() as errors:
        assert QThreadPool.globalInstance().waitForDone(60_000)
        qtbot.wait(50)
    assert errors == []
    assert not [layer for layer in viewer.layers if layer.name.startswith("objects of")]
