"""Keys of the Review tab: where they work, and where they are napari's."""

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QLineEdit

from dinoiser.batch.reviews import read_reviews
from tests.helpers.review_driver import PROMPTS, expected_ious


def test_keys_work_on_the_canvas_with_the_labels_layer_selected(job, reviewer):
    reviewer.open(job)
    reviewer.viewer.layers.selection.active = reviewer.labels
    names = [name for name, _ in sorted(expected_ious(job).items(), key=lambda item: item[1])]
    reviewer.press(Qt.Key.Key_N)
    assert reviewer.image == names[1]
    reviewer.press(Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert reviewer.image == names[0]
    reviewer.press(Qt.Key.Key_2)
    assert reviewer.labels.selected_label == PROMPTS.classes[2].id
    assert str(reviewer.labels.mode) == "paint", "a digit takes the brush"
    reviewer.press(Qt.Key.Key_0)
    assert reviewer.labels.selected_label == 0
    reviewer.press(Qt.Key.Key_F)
    reviewer.press(Qt.Key.Key_3)
    assert str(reviewer.labels.mode) == "fill", "and leaves a tool that paints in the hand"
    reviewer.press(Qt.Key.Key_P)
    reviewer.press(Qt.Key.Key_T)
    assert not reviewer.labels.visible
    reviewer.press(Qt.Key.Key_T)
    assert reviewer.labels.visible
    assert str(reviewer.labels.mode) == "paint", "the brush stays in the hand"
    reviewer.press(Qt.Key.Key_A)
    assert reviewer.image == names[1]
    reviewer.press(Qt.Key.Key_R)
    assert reviewer.image == names[2]
    states = {name: review.state for name, review in read_reviews(job).items()}
    assert states == {names[0]: "accepted", names[1]: "rejected"}
    assert reviewer.text("progress") == "2 of 4 checked"
    reviewer.press(Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    reviewer.press(Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    reviewer.press(Qt.Key.Key_U)
    assert reviewer.image == names[2]


@pytest.mark.parametrize(
    "modifier",
    [Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier],
    ids=["US keyboard", "German keyboard"],
)
def test_a_class_is_found_by_letters(job, reviewer, modifier):
    reviewer.open(job)
    reviewer.press(Qt.Key.Key_Slash, modifier)
    letters = reviewer.child(QLineEdit, "letters")
    QTest.keyClicks(letters, "sta")
    QTest.keyClick(letters, Qt.Key.Key_Return)
    assert reviewer.labels.selected_label == PROMPTS.classes[3].id
    assert str(reviewer.labels.mode) == "paint"


def test_keys_change_how_labels_look(job, reviewer):
    reviewer.open(job)
    reviewer.press(Qt.Key.Key_O)
    assert reviewer.labels.contour > 0
    reviewer.press(Qt.Key.Key_O)
    assert reviewer.labels.contour == 0
    before = reviewer.labels.opacity
    reviewer.press(Qt.Key.Key_BracketLeft)
    assert reviewer.labels.opacity < before
    reviewer.press(Qt.Key.Key_BracketRight)
    assert reviewer.labels.opacity == pytest.approx(before)
    reviewer.press(Qt.Key.Key_I)
    assert reviewer.labels.show_selected_label


def test_g_goes_to_the_uncertain_places_largest_first(job, reviewer):
    reviewer.open(job)
    reviewer.press(Qt.Key.Key_G)
    assert "there is no confidence" in reviewer.text("message"), "the job did not save it"
    grey = np.full((96, 128), 250, np.uint8)
    grey[10:20, 20:40], grey[60:80, 90:120] = 60, 60
    path = job / "confidence" / reviewer.image
    path.parent.mkdir()
    Image.fromarray(grey).save(path)
    for middle, pixels, number in (
        ((69.5, 104.5), 600, 1),
        ((14.5, 29.5), 200, 2),
        ((69.5, 104.5), 600, 1),
    ):
        reviewer.press(Qt.Key.Key_G)
        assert reviewer.text("message") == f"Uncertain place of {pixels} pixels, {number} of 2."
        assert tuple(reviewer.camera.center)[-2:] == pytest.approx(middle)
    reviewer.press(Qt.Key.Key_C)
    assert [layer.name for layer in reviewer.viewer.layers][-1] == "confidence"
    assert reviewer.viewer.layers.selection.active == reviewer.labels, "the brush paints labels"
    reviewer.press(Qt.Key.Key_N)
    assert not reviewer.viewer.layers["confidence"].visible, "it is of another image"


@pytest.mark.parametrize("selected", ["image", "nothing"])
def test_keys_work_whatever_layer_is_selected(job, reviewer, selected):
    reviewer.open(job)
    layers = reviewer.viewer.layers
    layers.selection.active = layers[0] if selected == "image" else None
    first = reviewer.image
    reviewer.press(Qt.Key.Key_1)
    assert reviewer.labels.selected_label == PROMPTS.classes[1].id
    reviewer.press(Qt.Key.Key_N)
    assert reviewer.image != first


def test_keys_work_in_the_panel_but_not_in_its_text(job, reviewer):
    reviewer.open(job)
    reviewer.activate()
    first = reviewer.image
    order = reviewer.child(QComboBox, "order")
    order.setFocus()
    QTest.keyClick(order, Qt.Key.Key_N)
    assert reviewer.image != first
    folder = reviewer.child(QLineEdit, "job_folder")
    folder.setFocus()
    folder.clear()
    second = reviewer.image
    QTest.keyClicks(folder, "nara1")
    assert folder.text() == "nara1"
    assert reviewer.image == second
    assert read_reviews(job) == {}


def test_keys_are_given_back_while_the_panel_is_hidden(job, reviewer):
    reviewer.open(job)
    called = []
    reviewer.dock.hide()
    reviewer.viewer.bind_key("n", lambda viewer: called.append("n"), overwrite=True)
    reviewer.press(Qt.Key.Key_N)
    reviewer.viewer.layers.selection.active = reviewer.labels
    reviewer.press(Qt.Key.Key_2)
    assert called == ["n"]
    assert str(reviewer.labels.mode) == "paint", "2 is napari's brush again"
    first = reviewer.image
    reviewer.dock.show()
    reviewer.press(Qt.Key.Key_N)
    assert called == ["n"]
    assert reviewer.image != first
    reviewer.dock.hide()
    reviewer.press(Qt.Key.Key_N)
    assert called == ["n", "n"]
