"""A job that others change while it is under review: a terminal, or another window."""

import numpy as np
import pytest

from dinoiser.batch.relabel import relabel
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from tests.helpers.review_driver import PROMPTS

OTHERS = np.full((96, 128), 2, np.uint8)
OTHERS[:10] = 1


@pytest.fixture
def corrects(job):
    """Somebody else corrects the mask of an image, as `dinoiser import` does."""

    def correct(image):
        labelled = {labelled.image: labelled for labelled in read_labelled(job)}[image]
        Reviews(job, PROMPTS).save(labelled, "accepted", OTHERS)

    return correct


def test_a_mask_that_nobody_has_seen_is_not_accepted(job, reviewer, corrects):
    reviewer.open(job)
    image = reviewer.image
    corrects(image)
    reviewer.click("reject")
    assert reviewer.image == image
    assert "changed by another program" in reviewer.text("message")
    np.testing.assert_array_equal(reviewer.labels.data, OTHERS)
    assert read_reviews(job)[image].state == "accepted"
    reviewer.click("accept")
    assert reviewer.image != image
    assert read_reviews(job)[image].edited, "it is still the other person's correction"


def test_strokes_stay_on_the_mask_as_it_is_now(job, reviewer, corrects):
    reviewer.open(job)
    image = reviewer.image
    before = np.array(reviewer.labels.data)
    reviewer.paint(3)
    strokes = reviewer.labels.data != before
    corrects(image)
    reviewer.click("next")
    assert reviewer.image == image
    both = np.where(strokes, 3, OTHERS)
    np.testing.assert_array_equal(reviewer.labels.data, both)
    reviewer.click("next")
    np.testing.assert_array_equal(read_mask(job / "masks" / image), both)


def test_decisions_in_another_window_count(job, reviewer, corrects):
    reviewer.open(job)
    others = next(x.image for x in read_labelled(job) if x.image != reviewer.image)
    corrects(others)
    reviewer.click("accept")
    assert "2 of 4" in reviewer.text("progress")


@pytest.mark.parametrize("button", ["next", "accept"])
def test_after_other_words_the_job_is_read_again_and_strokes_come_back(job, reviewer, button):
    reviewer.open(job)
    image = reviewer.image
    reviewer.paint(3)
    painted = np.array(reviewer.labels.data)
    relabel(job, PromptSet.from_names(["background", "ball", "star", "tree"]))
    relabelled = read_mask(job / "masks" / image)
    with reviewer.qtbot.waitSignal(reviewer.widget.job_opened, timeout=20_000):
        reviewer.click(button)
    assert "tree" in list(reviewer.labels.features["class"])
    assert reviewer.image == image
    np.testing.assert_array_equal(reviewer.labels.data, painted)
    assert "the job's words changed" in reviewer.text("message")
    assert read_reviews(job) == {}
    reviewer.click("revert")
    np.testing.assert_array_equal(reviewer.labels.data, relabelled)
    reviewer.click("accept")
    assert read_reviews(job)[image].state == "accepted"
