"""Edits that are not saved: asked about at the end, and kept for a crash."""

import shutil

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QMessageBox

from dinoiser.batch.relabel import relabel
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from tests.helpers.review_driver import Reviewer


@pytest.mark.parametrize(
    ("button", "open_after", "saved"),
    [
        (QMessageBox.StandardButton.Save, False, True),
        (QMessageBox.StandardButton.Discard, False, False),
        (QMessageBox.StandardButton.Cancel, True, False),
    ],
)
def test_closing_the_window_with_unsaved_edits_asks(
    job, reviewer, answer, button, open_after, saved
):
    reviewer.open(job)
    painted = reviewer.image
    before = read_mask(job / "masks" / painted)
    edited = np.full((96, 128), 3, np.uint8)
    reviewer.labels.data = edited
    asked = answer(button)
    window = reviewer.window_to_close()
    window.close()
    assert len(asked) == 1
    assert painted in asked[0]
    assert window.isVisible() == open_after
    if open_after:
        np.testing.assert_array_equal(reviewer.labels.data, edited)
    np.testing.assert_array_equal(read_mask(job / "masks" / painted), edited if saved else before)


def test_closing_without_edits_does_not_ask(job, reviewer, answer):
    reviewer.open(job)
    asked = answer(QMessageBox.StandardButton.Save)
    window = reviewer.window_to_close()
    window.close()
    assert not window.isVisible()
    reviewer.qtbot.wait(400)
    assert asked == []


def test_closing_the_panel_asks_and_ends_the_review(job, reviewer, answer):
    reviewer.open(job)
    painted = reviewer.image
    reviewer.labels.data = np.full((96, 128), 3, np.uint8)
    asked = answer(QMessageBox.StandardButton.Save)
    reviewer.dock.title.close_button.click()
    assert len(asked) == 1
    assert (read_mask(job / "masks" / painted) == 3).all()
    reviewer.viewer.layers.selection.active = reviewer.labels
    reviewer.press(Qt.Key.Key_2)
    assert str(reviewer.labels.mode) == "paint", "2 is napari's brush again"


def test_a_panel_that_is_closed_while_a_job_is_read_opens_nothing(job, reviewer):
    reviewer.widget.open_job(job)
    layers = list(reviewer.viewer.layers)
    reviewer.dock.title.close_button.click()
    reviewer.qtbot.wait(3000)
    assert list(reviewer.viewer.layers) == layers


def test_closing_the_panel_after_the_words_changed_keeps_the_edits_and_opens_nothing(
    job, reviewer, answer
):
    reviewer.open(job)
    painted = reviewer.image
    edited = np.full((96, 128), 3, np.uint8)
    reviewer.labels.data = edited
    relabel(job, PromptSet.from_names(["background", "ball", "box", "star", "tree"]))
    answer(QMessageBox.StandardButton.Save)
    layers = list(reviewer.viewer.layers)
    reviewer.dock.title.close_button.click()
    reviewer.qtbot.wait(3000)
    assert list(reviewer.viewer.layers) == layers
    np.testing.assert_array_equal(read_mask(job / ".unsaved" / painted), edited)


def test_another_job_asks_about_edits_and_takes_over_the_layers(
    job, labelled_job, reviewer, answer, tmp_path
):
    other = shutil.copytree(labelled_job, tmp_path / "other")
    other_prompts = PromptSet.from_names(["background", "tree", "box", "star"])
    other_prompts.save(other / "prompts.yaml")
    reviewer.open(job)
    painted = reviewer.image
    reviewer.labels.data = np.full((96, 128), 3, np.uint8)
    asked = answer(QMessageBox.StandardButton.Cancel)
    reviewer.widget.open_job(other)
    assert len(asked) == 1
    assert reviewer.image == painted
    answer(QMessageBox.StandardButton.Save)
    reviewer.open(other)
    assert (read_mask(job / "masks" / painted) == 3).all()
    assert len(reviewer.viewer.layers) == 2
    assert list(reviewer.labels.features["class"])[1] == "tree"
    assert "tree" in reviewer.child(QListWidget, "classes").item(1).text()


def test_edits_are_kept_for_a_crash_and_offered_again(job, reviewer, make_napari_viewer, qtbot):
    reviewer.open(job)
    painted = reviewer.image
    edited = np.full((96, 128), 3, np.uint8)
    reviewer.labels.data = edited
    unsaved = job / ".unsaved" / painted
    qtbot.waitUntil(unsaved.exists, timeout=10_000)

    after_crash = Reviewer(make_napari_viewer(show=True), qtbot)
    after_crash.open(job)
    assert after_crash.image == painted
    np.testing.assert_array_equal(after_crash.labels.data, edited)
    assert "not saved when napari ended" in after_crash.text("message")
    after_crash.click("revert")
    assert not unsaved.exists()
    np.testing.assert_array_equal(after_crash.labels.data, read_mask(job / "masks" / painted))
    after_crash.leave()
