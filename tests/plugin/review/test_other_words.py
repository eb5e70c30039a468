"""Other words are tried in the Segment tab on the photos under review."""

import numpy as np

from tests.helpers.review_driver import PROMPTS


def test_what_was_painted_on_a_photo_stays_off_the_next(job, reviewer, qtbot):
    _, widget = reviewer.viewer.window.add_plugin_dock_widget("napari-dinoiser", "DINOiser")
    segment = widget.segment
    segment.models.set_model_name("tiny")
    reviewer.open(job)

    def label():
        segment.picker.choose(reviewer.widget._layers.image)
        segment.table.set_prompt_set(PROMPTS)
        segment.run()
        qtbot.waitUntil(lambda: segment.runner.request is None, timeout=60_000)
        return segment.images.of(segment.picker.layer())

    first = label()
    first.give((), np.ones((96, 128), bool), 2)
    under_review = reviewer.labels.data.copy()
    reviewer.click("next")
    assert not first.editor.layer.visible
    assert (first.editor.layer.data == 2).all(), "it can still be saved"
    second = label()
    assert second is not first
    assert second.editor.layer.visible
    assert not (second.editor.layer.data == 2).all()
    reviewer.click("previous")
    np.testing.assert_array_equal(reviewer.labels.data, under_review)


def test_a_run_stops_where_review_goes_on_meanwhile(job, reviewer, qtbot):
    _, widget = reviewer.viewer.window.add_plugin_dock_widget("napari-dinoiser", "DINOiser")
    segment = widget.segment
    segment.models.set_model_name("tiny")
    reviewer.open(job)
    segment.picker.choose(reviewer.widget._layers.image)
    segment.table.set_prompt_set(PROMPTS)
    segment.run()
    reviewer.click("next")
    qtbot.waitUntil(lambda: segment.runner.request is None, timeout=60_000)
    assert segment.images.of(segment.picker.layer()) is None
