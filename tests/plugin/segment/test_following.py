"""What the tab made goes where its image goes, and stays when the tab is closed."""

import gc
import weakref

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication, QComboBox, QLabel, QPushButton, QRadioButton, QTableView

from tests.helpers.segment_driver import child, click, labels_layers, layer_of, maps_in_view

CHANGES = [
    {"scale": (2, 3)},
    {"translate": (5, -7)},
    {"rotate": 30},
    {"affine": np.array([[1, 0.2, 4], [0, 2, 0], [0, 0, 1]])},
    {"units": ("um", "um")},
]


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)  # keys work while the tab is seen


def corner(layer):
    return [round(float(value), 6) for value in layer.data_to_world((11, 13))]


def count_objects(segment, qtbot):
    status = child(segment, QLabel, "status")
    status.setText("")
    click(segment, qtbot, "objects")
    qtbot.waitUntil(lambda: status.text().endswith((" object", " objects")), timeout=20_000)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_labels_map_and_objects_go_where_their_image_goes(labelled, viewer, qtbot, change):
    child(labelled, QRadioButton, "show_confidence").setChecked(True)
    qtbot.waitUntil(lambda: len(maps_in_view(viewer)) == 1)
    count_objects(labelled, qtbot)
    image = viewer.layers["scene"]
    for name, value in change.items():
        setattr(image, name, value)
    others = [layer for layer in viewer.layers if layer is not image]
    assert len(others) == 3
    for layer in others:
        assert corner(layer) == corner(image)
        assert layer.units == image.units
    image.rotate, image.affine = 0, np.eye(3)
    image.scale, image.translate = (1, 1), (0, 0)
    assert all(corner(layer) == [11, 13] for layer in others)


def test_a_map_goes_with_labels_that_are_removed_or_left_alone(labelled, viewer, scene, qtbot):
    child(labelled, QRadioButton, "show_confidence").setChecked(True)
    qtbot.waitUntil(lambda: len(maps_in_view(viewer)) == 1)
    viewer.layers.remove(layer_of(viewer))
    gc.collect()
    qtbot.waitUntil(lambda: [layer.name for layer in viewer.layers] == ["scene"])


def test_a_map_goes_when_its_image_gets_another_size(labelled, viewer, scene, finish, qtbot):
    child(labelled, QRadioButton, "show_confidence").setChecked(True)
    qtbot.waitUntil(lambda: len(maps_in_view(viewer)) == 1)
    [old] = maps_in_view(viewer)
    viewer.layers["scene"].data = scene.image[:100, :150]
    labelled.run()
    finish()
    qtbot.waitUntil(lambda: old not in viewer.layers)
    assert [layer.data.shape for layer in labels_layers(viewer)][-1] == (100, 150)


def test_objects_of_one_slice_leave_those_of_others(segment, viewer, scene_prompts, finish, qtbot):
    stack = np.full((3, 120, 160, 3), 235, np.uint8)
    stack[0, 40:80, 40:80] = stack[2, 20:60, 90:130] = (200, 20, 20)
    viewer.add_image(stack, name="stack")
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    layer_of(viewer).data[...] = (stack[..., 1] == 20).astype(np.uint8)
    for step in (0, 2):
        viewer.dims.set_current_step(0, step)
        count_objects(segment, qtbot)
    objects = viewer.layers["objects of stack"].data
    assert [int(plane.max()) for plane in objects] == [1, 0, 1]
    # labels that were removed come back, and their objects with them
    viewer.layers.remove("labels of stack")
    segment.run()
    finish()
    count_objects(segment, qtbot)
    assert [one.name for one in viewer.layers if "objects" in one.name] == ["objects of stack"]


def test_objects_go_to_the_slice_they_were_counted_in(
    segment, viewer, scene, scene_prompts, finish, qtbot
):
    viewer.add_image(np.stack([scene.image, np.full_like(scene.image, 235)]), name="stack")
    segment.table.set_prompt_set(scene_prompts)
    viewer.dims.set_current_step(0, 0)
    segment.run()
    finish()
    click(segment, qtbot, "objects")
    assert not child(segment, QPushButton, "objects").isEnabled()
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: "objects of stack" in viewer.layers)
    qtbot.waitUntil(viewer.layers["objects of stack"].data.any)
    objects = viewer.layers["objects of stack"].data
    assert (objects.max(axis=(1, 2)) > 0).tolist() == [True, False]
    assert child(segment, QPushButton, "objects").isEnabled()


def test_what_was_made_of_an_image_leaves_memory_with_it(labelled, viewer, qtbot):
    child(labelled, QRadioButton, "show_confidence").setChecked(True)
    qtbot.waitUntil(lambda: len(maps_in_view(viewer)) == 1)
    count_objects(labelled, qtbot)
    made = [weakref.ref(layer) for layer in viewer.layers]
    viewer.layers.clear()
    viewer.add_image(np.zeros((20, 20, 3), np.uint8))

    def gone():
        gc.collect()
        return not any(layer() for layer in made)

    qtbot.waitUntil(gone)


def test_an_image_that_is_deleted_is_not_labelled_on(labelled, viewer, scene, finish, looks):
    stack = viewer.add_image(np.stack(30 * [scene.image]), name="stack")
    child(labelled, QComboBox, "planes").setCurrentIndex(1)
    labelled.run()
    viewer.layers.remove(stack)
    finish()
    assert len(looks) < 30
    assert [layer.name for layer in labels_layers(viewer)] == ["labels of scene"]


def test_selecting_the_labels_of_another_image_chooses_that_image(
    labelled, viewer, scene, finish, qtbot
):
    first = layer_of(viewer)
    viewer.add_image(scene.image[::-1], name="other")
    labelled.run()
    finish()
    assert child(labelled, QComboBox, "image_picker").currentText() == "other"
    viewer.layers.selection.active = first
    assert child(labelled, QComboBox, "image_picker").currentText() == "scene"
    first.paint((50, 50), 2)
    assert labelled._labelled().editor.layer is first
    click(labelled, qtbot, "clear_edits")
    assert first.data[50, 50] == 0


def test_pickers_show_the_names_that_layers_have_now(labelled, viewer, scene):
    viewer.add_image(scene.image, name="other")
    shapes = viewer.add_shapes([np.array([[0, 0], [9, 9]])], name="Shapes")
    viewer.layers["scene"].name, shapes.name = "field", "plot"
    images = child(labelled, QComboBox, "image_picker")
    assert {images.itemText(place) for place in range(images.count())} == {"field", "other"}
    region = child(labelled, QComboBox, "region")
    assert region.findText("rectangle in plot") >= 0


def test_tab_leaves_the_table(labelled, qtbot):
    table = child(labelled, QTableView, "prompt_table")
    index = table.model().index(0, 2)
    table.setCurrentIndex(index)
    qtbot.keyClick(table, Qt.Key.Key_Tab)
    assert table.currentIndex() == index  # not the next cell


def test_closed_and_opened_again_the_tab_goes_on(labelled, viewer, scene_prompts, finish, qtbot):
    layer = layer_of(viewer)
    layer.brush_size = 9
    layer.paint((50, 50), 2)
    viewer.window.remove_dock_widget("all")
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    layer.paint((80, 80), 1)  # nobody is told, and nothing is lost
    _, widget = viewer.window.add_plugin_dock_widget("napari-dinoiser", "DINOiser")
    again = widget.segment
    assert again is not labelled
    assert again.table.prompt_set() == scene_prompts
    assert again.models.model_name() == "tiny"
    again.run()
    qtbot.waitUntil(lambda: again.runner.request is None, timeout=60_000)
    assert labels_layers(viewer) == [layer]
    assert (layer.data[48:53, 48:53] == 2).all()
    assert (layer.data[78:83, 78:83] == 1).all()
    click(again, qtbot, "clear_edits")
    assert not (layer.data[48:53, 48:53] == 2).all()
    layer.undo()
    assert (layer.data[48:53, 48:53] == 2).all()
    # the keys work on the layer that was there before
    keys = {str(name): action for name, action in layer.keymap.items()}
    for digit in (1, 2):
        keys[str(digit)](layer)
        assert layer.selected_label == scene_prompts.classes[digit].id
