"""Painted pixels stay in their class when rows of the table are removed, replaced or renumbered."""

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QComboBox, QDialogButtonBox, QRadioButton, QTableView

from dinoiser.prompts import PromptSet
from napari_dinoiser.label_layers import prompts_of_layer
from napari_dinoiser.prompts.table_model import Column
from tests.helpers.segment_driver import add_class, child, layer_of, remove_class

STAR, HEART = "white star", "green heart"


@pytest.fixture
def painted(segment, viewer, scene, finish):
    """Three classes, of which the second is painted on 25 pixels in a corner."""
    viewer.add_image(scene.image, name="scene")
    names = PromptSet.from_names(["background", scene.names[0], STAR, scene.names[1]])
    segment.table.set_prompt_set(names)
    segment.run()
    finish()
    layer = layer_of(viewer)
    layer.data_setitem(tuple(np.indices((5, 5)).reshape(2, -1)), 2)
    return segment


def answer(segment, choice, other=None, accept=True):
    """Answer the question that is asked next."""
    asked = []

    def on_time():
        dialog = QApplication.activeModalWidget()
        if dialog is None:
            QTimer.singleShot(20, on_time)
            return
        asked.append(dialog)
        child(dialog, QRadioButton, choice).setChecked(True)
        if other:
            dialog.findChild(QComboBox).setCurrentText(other)
        kinds = QDialogButtonBox.StandardButton
        buttons = dialog.findChild(QDialogButtonBox)
        buttons.button(kinds.Ok if accept else kinds.Cancel).click()

    QTimer.singleShot(20, on_time)
    return asked


def class_at(viewer, row, column):
    """What the layer says about a pixel, to a user and to another program."""
    layer = layer_of(viewer)
    label = int(layer.data[row, column])
    named = dict(zip(layer.features["index"], layer.features["class"], strict=True))
    prompts = prompts_of_layer(layer.metadata, layer.features)
    assert {item.id: item.name for item in prompts.classes}[label] == named[label]
    assert label == 0 or layer.colormap.map(label)[3] == 1
    return named[label]


def test_kept_pixels_keep_class_and_colour_and_no_new_class_gets_their_number(
    painted, viewer, finish, qtbot
):
    asked = answer(painted, "keep")
    remove_class(painted, qtbot, 1)
    assert asked
    finish()
    assert class_at(viewer, 2, 2) == STAR
    add_class(painted, HEART)
    finish()
    assert class_at(viewer, 2, 2) == STAR
    assert (layer_of(viewer).data == 2).sum() == 25
    assert painted.table.prompt_set().names.count(HEART) == 1


def test_a_class_that_is_added_again_has_its_pixels_again(painted, viewer, finish, qtbot):
    answer(painted, "keep")
    remove_class(painted, qtbot, 1)
    add_class(painted, STAR)
    finish()
    (number,) = [item.id for item in painted.table.prompt_set().classes if item.name == STAR]
    assert (layer_of(viewer).data[:5, :5] == number).all()
    assert class_at(viewer, 2, 2) == STAR


def test_pixels_that_are_given_back_follow_the_words_until_that_is_undone(
    painted, viewer, finish, qtbot
):
    answer(painted, "give back")
    remove_class(painted, qtbot, 1)
    finish()
    assert not (layer_of(viewer).data == 2).any()
    add_class(painted, HEART)
    finish()
    layer_of(viewer).undo()
    assert class_at(viewer, 2, 2) == STAR


def test_pixels_can_be_made_another_class(painted, viewer, scene, finish, qtbot):
    answer(painted, "repaint", other=scene.names[1])
    remove_class(painted, qtbot, 1)
    finish()
    assert class_at(viewer, 2, 2) == scene.names[1]
    assert (painted.images.edits()[0].owners[:5, :5] > 0).all()


def test_cancelling_keeps_the_row(painted, viewer, qtbot):
    answer(painted, "give back", accept=False)
    remove_class(painted, qtbot, 1)
    assert STAR in painted.table.prompt_set().names
    assert class_at(viewer, 2, 2) == STAR


def test_a_class_without_painted_pixels_goes_without_a_question(painted, scene, qtbot):
    remove_class(painted, qtbot, 2)
    assert scene.names[1] not in painted.table.prompt_set().names


def test_another_prompt_file_takes_no_painted_pixel_for_another_class(painted, viewer, finish):
    painted.table.set_prompt_set(PromptSet.from_names(["background", HEART, "blue square", STAR]))
    finish()
    assert class_at(viewer, 2, 2) == STAR
    assert (layer_of(viewer).data[:5, :5] == 3).all()
    painted.table.set_prompt_set(PromptSet.from_names(["background", "a", "b", "c", "d"]))
    finish()
    assert class_at(viewer, 2, 2) == STAR


def test_two_rows_that_change_numbers_take_their_pixels_along(painted, viewer, finish):
    layer_of(viewer).data_setitem((np.array([10]), np.array([10])), 1)
    model = child(painted, QTableView, "prompt_table").model()
    model.setData(model.index(0, Column.ID), "2")  # both are 2 for a moment: an error
    model.setData(model.index(1, Column.ID), "1")
    finish()
    data = layer_of(viewer).data
    assert (data[:5, :5] == 1).all()
    assert data[10, 10] == 2
    assert class_at(viewer, 2, 2) == STAR


def test_a_row_whose_name_is_emptied_leaves_its_pixels_named(painted, viewer, finish):
    model = child(painted, QTableView, "prompt_table").model()
    model.setData(model.index(1, Column.NAME), "")
    finish()
    assert class_at(viewer, 2, 2) == STAR
    model.setData(model.index(1, Column.NAME), HEART)
    finish()
    assert class_at(viewer, 2, 2) == STAR
