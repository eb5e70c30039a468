"""One key for an object: its outline follows the pointer with Shift, a digit gives it a class."""

from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton
from scipy import ndimage

from napari_dinoiser.class_search import ClassSearch
from napari_dinoiser.digit_keys import digit_of
from tests.helpers.pointer import outline, point, send, type_slash
from tests.helpers.segment_driver import child, labels_layers, layer_of


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)  # keys work while the tab is seen


@pytest.fixture
def objects(scene):
    """A mask and an inner pixel of each object of the scene."""
    masks = [scene.labels == label for label in range(1, len(scene.names) + 1)]
    return [(mask, inner(mask)) for mask in masks]


def inner(mask):
    depths = ndimage.distance_transform_edt(mask)
    row, column = np.unravel_index(depths.argmax(), mask.shape)
    return int(row), int(column)


def turn(viewer, steps):
    event = SimpleNamespace(modifiers=("Shift",), delta=(0, np.sign(steps)), handled=False)
    for _ in range(abs(steps)):
        for call in viewer.mouse_wheel_callbacks[-1:]:
            call(viewer, event)


def bound(provider):
    return {str(key): action for key, action in provider.keymap.items()}


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_the_outline_is_the_object_and_a_digit_gives_it_the_class(labelled, viewer, objects, qtbot):
    layer = layer_of(viewer)
    layer.fill((2, 2), 4)  # whatever is there
    (mask, place), *_ = objects
    before = layer.data.copy()
    point(viewer, qtbot, place)
    found = outline(viewer)
    assert iou(found, mask) > 0.85
    send(Qt.Key.Key_3)
    assert (layer.data[found] == 3).all()
    np.testing.assert_array_equal(layer.data[~found], before[~found])
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_shift_over_an_object_is_enough_where_the_pointer_rests(labelled, viewer, objects, qtbot):
    (mask, place), *_ = objects
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    viewer.mouse_over_canvas, viewer.cursor.position = True, place
    QTest.keyPress(canvas, Qt.Key.Key_Shift, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: outline(viewer) is not None, timeout=10_000)
    assert iou(outline(viewer), mask) > 0.85
    QTest.keyRelease(canvas, Qt.Key.Key_Shift)
    assert outline(viewer) is None


def test_the_outline_goes_with_shift_and_digits_then_choose_a_class(
    labelled, viewer, objects, qtbot
):
    point(viewer, qtbot, objects[0][1])
    assert outline(viewer).any()
    send(Qt.Key.Key_Shift, QEvent.Type.KeyRelease)
    layer = layer_of(viewer)  # the only one
    before = layer.data.copy()
    send(Qt.Key.Key_2)
    np.testing.assert_array_equal(layer.data, before)
    bound(viewer)["2"](viewer)
    assert (layer.mode, layer.selected_label) == ("paint", 2)
    bound(viewer)["0"](viewer)
    assert layer.selected_label == 0


def test_a_slash_searches_a_class_though_its_key_is_a_digit(labelled, viewer, objects, qtbot):
    layer = layer_of(viewer)
    before = layer.data.copy()
    point(viewer, qtbot, objects[0][1])
    type_slash(viewer, 2)
    np.testing.assert_array_equal(layer.data, before)
    (search,) = labelled.findChildren(ClassSearch)
    assert search.isVisible()
    search.hide()


def test_one_outline_layer_serves_again_and_is_not_offered_as_labels(
    labelled, viewer, objects, qtbot
):
    for _, place in objects[:2]:
        point(viewer, qtbot, place)
        found = outline(viewer)
        assert found[place]
        assert viewer.layers[-1].visible
        send(Qt.Key.Key_Shift, QEvent.Type.KeyRelease)
        assert outline(viewer) is None
    assert len(viewer.layers) == 3
    button = child(labelled, QPushButton, "take_labels")
    button.menu().aboutToShow.emit()
    assert [action.text() for action in button.menu().actions()] == ["From a file…"]


def test_the_wheel_grows_and_shrinks_the_object(labelled, viewer, objects, qtbot):
    point(viewer, qtbot, objects[0][1])
    usual = outline(viewer).sum()
    turn(viewer, 20)
    large = outline(viewer).sum()
    turn(viewer, -40)
    small = outline(viewer).sum()
    assert small < usual < large


def test_nothing_is_outlined_without_shift_outside_the_image_or_before_a_run(
    segment, viewer, scene, objects, qtbot
):
    viewer.add_image(scene.image)
    point(viewer, qtbot, objects[0][1])
    assert not labels_layers(viewer)


def test_nothing_is_outlined_beside_the_image(labelled, viewer, objects, qtbot):
    for place, modifiers in (((-5, 10), ("Shift",)), (objects[0][1], ())):
        point(viewer, qtbot, place, modifiers)
        assert len(labels_layers(viewer)) == 1


def test_another_tab_has_its_digits_to_itself(labelled, viewer, objects, qtbot):
    point(viewer, qtbot, objects[0][1])
    labelled.hide()
    assert len(labels_layers(viewer)) == 1
    assert "2" not in bound(viewer)
    layer = layer_of(viewer)
    labelled.show()
    bound(layer)["1"](layer)
    assert layer.selected_label == 1


def test_the_pointer_is_left_alone_once_the_widget_is_gone(labelled, viewer, objects, qtbot):
    viewer.window.remove_dock_widget("all")
    point(viewer, qtbot, objects[0][1])
    assert len(labels_layers(viewer)) == 1


def test_a_key_is_a_digit_whatever_shift_makes_of_it(monkeypatch):
    def event(key, scan=0, virtual=0):
        shift = Qt.KeyboardModifier.ShiftModifier
        return QKeyEvent(QEvent.Type.KeyPress, key, shift, scan, virtual, 0)

    assert digit_of(event(Qt.Key.Key_7)) == 7
    assert digit_of(event(Qt.Key.Key_Slash, scan=16, virtual=0x37)) is None  # a German keyboard
    for system, pressed in (
        ("linux", event(Qt.Key.Key_Exclam, scan=10)),
        ("win32", event(Qt.Key.Key_Exclam, virtual=0x31)),
        ("darwin", event(Qt.Key.Key_Exclam, virtual=0x12)),
    ):
        monkeypatch.setattr("sys.platform", system)
        assert digit_of(pressed) == 1
        assert digit_of(event(Qt.Key.Key_A, scan=38, virtual=0x41)) is None
