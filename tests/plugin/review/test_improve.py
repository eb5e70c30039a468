"""Improve the rest: accepted masks teach the unchecked images, in a real window."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from dinoiser.batch.reviews import read_reviews
from tests.helpers.taught_jobs import accept, draw, label, masks


@pytest.fixture
def taught(tmp_path):
    """A job of ten images, and the true masks."""
    truth = draw(tmp_path / "in", 10)
    label(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out", truth


def improve(reviewer, name):
    button = reviewer.child(QPushButton, name)
    with reviewer.qtbot.waitSignal(reviewer.widget.job_opened, timeout=120_000):
        reviewer.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert not reviewer.child(QPushButton, "accept").isEnabled()
    reviewer.settle()


@pytest.mark.slow
def test_what_was_accepted_improves_the_rest_and_can_be_taken_back(reviewer, taught):
    out, truth = taught
    accept(out, truth, 5)
    before, told = masks(out), read_reviews(out)
    reviewer.open(out)
    assert "5 masks are accepted" in reviewer.text("improve_text")
    improve(reviewer, "improve")
    changed = {name for name, mask in masks(out).items() if mask != before[name]}
    assert changed
    assert changed <= {f"{i:03}.png" for i in range(5, 10)}
    assert "Learnt from 5 masks" in reviewer.text("improve_text")
    assert "navy" in reviewer.text("improve_text")
    assert reviewer.child(QPushButton, "accept").isEnabled()
    assert read_reviews(out) == told
    improve(reviewer, "take_back")
    assert masks(out) == before
    assert "from before" in reviewer.text("improve_text")


def test_it_waits_for_three_accepted_masks(reviewer, taught):
    out, truth = taught
    accept(out, truth, 2)
    reviewer.open(out)
    button = reviewer.child(QPushButton, "improve")
    assert not button.isEnabled()
    assert "1 more" in button.toolTip()
    reviewer.click("accept")
    assert reviewer.child(QPushButton, "improve").isEnabled()


@pytest.mark.slow
def test_where_nothing_is_learnt_the_image_stays_and_the_latest_can_still_be_taken_back(
    reviewer, taught
):
    out, truth = taught
    accept(out, truth, 5)
    reviewer.open(out)
    improve(reviewer, "improve")
    before = masks(out)
    reviewer.click("next")
    image = reviewer.image
    button = reviewer.child(QPushButton, "improve")
    with reviewer.qtbot.waitSignal(reviewer.widget._improve.ended, timeout=120_000):
        reviewer.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        stop = reviewer.widget.findChild(QPushButton, "improve_cancel")
        reviewer.qtbot.mouseClick(stop, Qt.MouseButton.LeftButton)
    reviewer.qtbot.wait(500)
    assert reviewer.text("improve_text") == "Stopped; nothing was changed."
    assert reviewer.image == image
    assert masks(out) == before
    assert reviewer.child(QPushButton, "take_back").isVisible()
