"""Painting on a real Labels layer: what a person sets stays, and undo still works."""

import numpy as np
import pytest
from napari.layers import Labels

from napari_dinoiser.segment.label_editor import LabelEditor
from napari_dinoiser.segment.parts import Part
from napari_dinoiser.segment.session import Session

SHAPE = (40, 60)
WHOLE = Part((), slice(0, 40), slice(0, 60))
HALVES = np.repeat(np.array([[1] * 30 + [2] * 30], np.uint8), 40, 0)


@pytest.fixture
def editor():
    session = Session(SHAPE)
    layer = Labels(session.edits.labels)
    editor = LabelEditor(layer, session)
    session.edits.propose(WHOLE, HALVES)
    return editor


def say(editor, label):
    """Let the model say that all is one class."""
    editor.session.edits.propose(WHOLE, np.full(SHAPE, label, np.uint8))
    return editor.layer.data


def brush(layer, place, label, size=5):
    layer.brush_size = size
    layer.paint(place, label)


def test_a_brush_stroke_stays_also_where_the_label_was_there_already(editor):
    brush(editor.layer, (20, 30), 1, size=9)
    data = say(editor, 3)
    radius = np.hypot(*(np.indices(SHAPE) - np.array([20, 30])[:, None, None]))
    assert (data[radius <= 4] == 1).all()
    assert (data[radius > 6] == 3).all()


def test_the_eraser_counts_as_painting(editor):
    brush(editor.layer, (20, 10), 0)
    data = say(editor, 3)
    assert data[20, 10] == 0
    assert data[0, 0] == 3


def test_filling_stays(editor):
    editor.layer.fill((5, 5), 7)
    data = say(editor, 3)
    assert (data[:, :30] == 7).all()
    assert (data[:, 30:] == 3).all()


def test_a_polygon_stays(editor):
    editor.layer.paint_polygon([(10, 20), (10, 40), (30, 40), (30, 20)], 1)
    data = say(editor, 3)
    assert (data[12:29, 22:39] == 1).all()
    assert (data[:8] == 3).all()


def test_what_a_program_sets_stays(editor):
    editor.layer.data[3, 4] = 9
    editor.layer.data_setitem((np.array([5]), np.array([6])), 8)
    data = say(editor, 3)
    assert (data[3, 4], data[5, 6], data[0, 0]) == (9, 8, 3)


def test_new_data_for_the_layer_stays_where_it_differs(editor):
    changed = HALVES.copy()
    changed[:4] = 5
    editor.layer.data = changed
    data = say(editor, 3)
    assert (data[:4] == 5).all()
    assert (data[4:] == 3).all()


def test_undo_gives_the_newest_words_and_redo_paints_again(editor):
    brush(editor.layer, (20, 30), 4)
    say(editor, 3)
    editor.layer.undo()
    assert (editor.layer.data == 3).all()
    assert (say(editor, 2) == 2).all()
    editor.layer.redo()
    assert editor.layer.data[20, 30] == 4
    assert say(editor, 1)[20, 30] == 4


def test_undo_of_the_second_stroke_keeps_the_first(editor):
    brush(editor.layer, (20, 30), 4)
    brush(editor.layer, (20, 31), 5)
    editor.layer.undo()
    assert say(editor, 3)[20, 30] == 4
    assert editor.layer.data[20, 34] == 3
    editor.layer.undo()
    assert (editor.layer.data == 3).all()


def test_undo_where_nothing_was_painted_changes_nothing(editor):
    editor.layer.undo()
    editor.layer.redo()
    np.testing.assert_array_equal(editor.layer.data, HALVES)


def test_cleared_edits_follow_the_words_keep_the_tool_and_come_back_by_undo(editor):
    editor.layer.mode = "paint"
    brush(editor.layer, (20, 30), 4)
    editor.layer.data[3, 4] = 9  # by a program
    say(editor, 3)
    editor.clear()
    assert editor.layer.mode == "paint"
    assert (say(editor, 2) == 2).all()
    editor.layer.undo()
    assert (editor.layer.data[20, 30], editor.layer.data[3, 4]) == (4, 9)
    editor.layer.redo()
    assert (editor.layer.data == 2).all()


def test_preserving_labels_locks_only_what_was_painted(editor):
    editor.session.edits.propose(WHOLE, np.where(HALVES == 2, 0, HALVES))
    editor.layer.preserve_labels = True
    brush(editor.layer, (20, 30), 1, size=9)
    data = say(editor, 3)
    assert (data[20, 30:33] == 1).all()
    assert (data[20, 26:30] == 3).all()


def test_painting_one_plane_of_a_stack_leaves_the_others(editor):
    session = Session((3, *SHAPE))
    layer = Labels(session.edits.labels)
    LabelEditor(layer, session)
    planes = [Part((i,), *WHOLE[1:]) for i in range(3)]
    for plane in planes:
        session.edits.propose(plane, HALVES)
    layer.paint((1, 20, 30), 6)
    for plane in planes:
        session.edits.propose(plane, np.full(SHAPE, 3, np.uint8))
    assert layer.data[:, 20, 30].tolist() == [3, 6, 3]
    layer.undo()
    assert (layer.data == 3).all()


def test_a_brush_on_stretched_pixels_is_round_on_the_screen(editor):
    editor.layer.scale = (2, 1)
    brush(editor.layer, (20, 30), 1, size=9)
    data = say(editor, 3)
    assert (data[20, 26:35] == 1).all()
    assert (data[18:23, 30] == 1).all()
    assert (data[:18] == 3).all()


def test_a_script_that_writes_outside_the_stroke_is_not_undone_with_it(editor):
    editor.layer.data[3, 4] = 9
    brush(editor.layer, (20, 30), 4)
    say(editor, 3)
    editor.layer.undo()
    assert editor.layer.data[3, 4] == 9
    assert editor.layer.data[20, 30] == 3


def test_a_full_history_forgets_the_oldest_stroke_but_not_its_pixels(editor):
    for column in range(60):
        brush(editor.layer, (5, column), 4, size=1)
        brush(editor.layer, (6, column), 4, size=1)
    say(editor, 3)
    for _ in range(130):
        editor.layer.undo()
    assert (editor.layer.data[5:7, :10] == 4).all()
    assert (editor.layer.data[5:7, 10:] == 3).all()
