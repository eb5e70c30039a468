"""Decisions on images: what is written down."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from dinoiser.batch import reviews as reviews_module
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.reviews import (
    CorrectedMasks,
    Review,
    Reviews,
    read_labelled,
    read_reviews,
)
from dinoiser.errors import InputError
from dinoiser.export import read_mask
from tests.helpers.export_jobs import PROMPTS, label_arrays, make_job, make_job_of_three


@pytest.fixture
def job(tmp_path):
    return make_job_of_three(tmp_path)


class TestReviews:
    def test_nothing_is_reviewed_at_first(self, job):
        first = read_labelled(job)[0]
        reviews = Reviews(job, PROMPTS)
        assert not reviews.is_checked(first)
        assert reviews.of(first) == Review(image="a.png")

    def test_the_last_decision_counts_and_an_edit_is_remembered(self, job):
        first, second, third = read_labelled(job)
        reviews = Reviews(job, PROMPTS)
        reviews.save(first, "rejected")
        reviews.save(second, "accepted", np.full((40, 60), 7, np.uint8))
        reviews.save(first, "accepted")
        reviews.save(second, "accepted")
        read = read_reviews(job)
        assert read == reviews.latest
        assert (read["a.png"].state, read["a.png"].edited) == ("accepted", False)
        assert read["sub/b.png"].edited
        assert read["sub/b.png"].pixels == {7: 2400, 255: 0}
        assert not Reviews(job, PROMPTS).is_checked(third)

    def test_a_line_that_was_cut_short_costs_only_itself(self, job):
        first, second, _ = read_labelled(job)
        Reviews(job, PROMPTS).save(first, "accepted")
        with (job / "reviews.jsonl").open("ab") as file:
            file.write(b'{"image":"sub/b.png","state":"rej')
        Reviews(job, PROMPTS).save(second, "accepted")
        assert {n: r.state for n, r in read_reviews(job).items()} == {
            "a.png": "accepted",
            "sub/b.png": "accepted",
        }

    @given(label_arrays())
    def test_corrected_masks_are_read_back_as_they_were_painted(self, tmp_path_factory, labels):
        job = make_job(tmp_path_factory.mktemp("job"), {"a.png": np.zeros_like(labels)})
        [only] = read_labelled(job)
        review = Reviews(job, PROMPTS).save(only, "accepted", labels)
        np.testing.assert_array_equal(read_mask(job / "masks" / "a.png"), labels)
        assert sum(review.pixels.values()) == labels.size
        assert all(np.count_nonzero(labels == label) == n for label, n in review.pixels.items())

    def test_masks_keep_the_palette(self, job):
        before = Image.open(job / "masks" / "a.png").getpalette()
        Reviews(job, PROMPTS).save(read_labelled(job)[0], "accepted", np.ones((40, 60), int))
        assert Image.open(job / "masks" / "a.png").getpalette() == before

    @pytest.mark.parametrize(
        ("labels", "problem"),
        [
            (np.zeros((40, 61), np.uint8), r"labels of a.png have \(40, 61\) pixels"),
            (np.full((40, 60), 2, np.uint8), "label 2 of a.png is not one of the job's classes"),
            (np.full((40, 60), 256 + 7, np.int32), "label 263 of a.png"),
            (np.full((40, 60), -1, np.int32), "label -1 of a.png"),
            (np.full((40, 60), 7.5), "labels of a.png are float64, expected integers"),
        ],
    )
    def test_labels_that_make_no_mask_change_nothing(self, job, labels, problem):
        before = read_mask(job / "masks" / "a.png")
        with pytest.raises(InputError, match=problem):
            Reviews(job, PROMPTS).save(read_labelled(job)[0], "accepted", labels)
        np.testing.assert_array_equal(read_mask(job / "masks" / "a.png"), before)
        assert read_reviews(job) == {}

    def test_masks_outside_the_folder_are_refused(self, job):
        good = Record(image="x.png", stem="x", path="x.png", status="done", size=(40, 60))
        RecordFile(job).append([good.model_copy(update={"stem": "../x"})])
        assert "x.png" not in [labelled.image for labelled in read_labelled(job)]
        outside = read_labelled(job)[0]._replace(image="x.png", stem="../x")
        with pytest.raises(InputError, match="points outside"):
            Reviews(job, PROMPTS).save(outside, "accepted", np.zeros((40, 60), np.uint8))
        assert not (job / "x.png").exists()

    def test_failed_images_are_not_reviewed(self, job):
        failed = Record(image="z.png", stem="z", path="z.png", status="failed", error="broken")
        RecordFile(job).append([failed])
        assert [p.image for p in read_labelled(job)] == ["a.png", "sub/b.png", "sub/c.d.png"]


def test_a_correction_counts_while_another_thread_reads_it(job, monkeypatch):
    first, *_ = read_labelled(job)
    Reviews(job, PROMPTS).save(first, "accepted", np.ones((40, 60), np.uint8))
    reading, go_on = Event(), Event()

    def read_slowly(output):
        if not reading.is_set():  # the other thread, which comes first
            reading.set()
            assert go_on.wait(60)
        return read_reviews(output)

    monkeypatch.setattr(reviews_module, "read_reviews", read_slowly)
    corrected = CorrectedMasks(job)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(corrected.__contains__, first.image)
        assert reading.wait(60)
        try:
            assert first.image in corrected
        finally:
            go_on.set()
        assert asked.result()
