"""Keys of the Segment tab on the canvas."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QLineEdit

from dinoiser.prompts import PromptSet
from tests.helpers.segment_driver import child, layer_of


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)  # keys work while the tab is seen


def press(provider, key):
    actions = {str(name): action for name, action in provider.keymap.items()}
    actions[key](provider)


@pytest.fixture
def stack(segment, viewer, scene, scene_prompts, finish):
    """Three slices, the middle one labelled, twice as far apart as pixels are wide."""
    images = np.stack([scene.image.mean(-1)] * 3)
    viewer.add_image(images, scale=(2, 0.5, 0.5), name="stack")
    segment.table.set_prompt_set(PromptSet(scene_prompts.classes[1:]))  # every pixel gets a class
    viewer.dims.set_current_step(0, 1)
    segment.run()
    finish()
    return layer_of(viewer)


def status(segment):
    return child(segment, QLabel, "status").text()


def test_hints_about_keys_come_with_labels(segment, viewer, scene, scene_prompts, finish):
    viewer.add_image(scene.image)
    hints = child(segment, QLabel, "hints")
    assert hints.isHidden()
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    assert not hints.isHidden()


@pytest.mark.parametrize("layer", [0, 1], ids=["image", "hidden labels"])
def test_a_digit_takes_the_brush_with_the_image_selected_or_the_labels_hidden(
    labelled, viewer, layer
):
    labels, canvas = layer_of(viewer), viewer.window._qt_viewer.canvas.native
    labels.visible = not layer
    viewer.layers.selection.active = viewer.layers[layer]
    canvas.setFocus()
    QTest.keyClick(canvas, Qt.Key.Key_2)  # of an image, it is napari's to transform it
    assert (labels.mode, labels.selected_label, labels.visible) == ("paint", 2, True)
    assert viewer.layers.selection.active is labels


def test_letters_change_how_labels_look(labelled, viewer):
    layer = layer_of(viewer)
    press(layer, "O")
    assert layer.contour > 0
    press(layer, "O")
    assert layer.contour == 0
    before = layer.opacity
    press(layer, "[")
    assert layer.opacity < before
    press(layer, "]")
    assert layer.opacity == pytest.approx(before)
    press(layer, "I")
    assert layer.show_selected_label


@pytest.mark.parametrize("key", ["/", "Shift+/"], ids=["US keyboard", "German keyboard"])
def test_a_class_is_found_by_letters(labelled, viewer, scene, key):
    press(viewer, key)
    letters = child(labelled, QLineEdit, "letters")
    QTest.keyClicks(letters, scene.names[1][:4])
    QTest.keyClick(letters, Qt.Key.Key_Return)
    layer = layer_of(viewer)
    assert (layer.mode, layer.selected_label) == ("paint", 2)
    assert viewer.layers.selection.active is layer


def test_g_leads_to_what_the_model_is_unsure_of_but_not_to_what_was_painted(labelled, viewer):
    layer = layer_of(viewer)
    confidence = labelled._labelled().session.confidence
    confidence[...] = 0.9
    confidence[10:20, 20:40], confidence[60:80, 90:120] = 0.3, 0.3
    confidence[150:200, 100:200] = 0.3
    layer.data_setitem(
        tuple(np.mgrid[150:200, 100:200].reshape(2, -1)), 2
    )  # the largest, but decided
    camera = getattr(viewer, "scene", viewer).camera
    for middle, pixels, number in (
        ((69.5, 104.5), 600, 1),
        ((14.5, 29.5), 200, 2),
        ((69.5, 104.5), 600, 1),
    ):
        press(viewer, "G")
        assert status(labelled) == f"Uncertain place of {pixels} pixels, {number} of 2."
        assert camera.center[-2:] == pytest.approx(middle)


def test_g_leads_to_places_of_the_slice_in_view_in_a_scaled_stack(stack, segment, viewer):
    confidence = segment._labelled().session.confidence
    confidence[1] = 0.9
    confidence[1, 60:80, 90:120] = 0.3
    press(viewer, "G")
    assert status(segment) == "Uncertain place of 600 pixels, 1 of 1."
    camera = getattr(viewer, "scene", viewer).camera
    assert camera.center[-2:] == pytest.approx((34.75, 52.25))
    viewer.dims.set_current_step(0, 2)
    press(viewer, "G")
    assert status(segment) == "There is no uncertain place in this image."


def test_a_slice_is_copied_to_its_neighbours_and_undone(stack, segment, viewer):
    before = stack.data.copy()
    assert before[1].all()
    press(viewer, ".")
    assert viewer.dims.current_step[0] == 2
    np.testing.assert_array_equal(stack.data[2], before[1])
    np.testing.assert_array_equal(stack.data[:2], before[:2])
    press(viewer, ".")
    assert status(segment) == "There is no slice to copy the labels to."
    stack.undo()
    np.testing.assert_array_equal(stack.data, before)
    viewer.dims.set_current_step(0, 1)
    press(viewer, ",")
    assert viewer.dims.current_step[0] == 0
    np.testing.assert_array_equal(stack.data[0], before[1])


def test_what_was_copied_stays_when_the_slice_is_labelled(stack, segment, viewer, finish):
    press(viewer, ".")
    copied = stack.data[2].copy()
    segment.table.set_prompt_set(PromptSet.from_names(["background", "sky"]))
    segment.run()
    finish()
    np.testing.assert_array_equal(stack.data[2], copied)
