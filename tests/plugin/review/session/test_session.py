"""Reviewing without a window: what is saved, in which order, and what survives a crash."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch import export, read_records
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.reviews import read_reviews
from dinoiser.errors import InputError, OutputError
from dinoiser.export import read_mask
from napari_dinoiser.review.review_session import ReviewSession
from tests.helpers.export_jobs import PROMPTS, scene


class TestSession:
    def test_no_job_is_refused_in_a_sentence(self, tmp_path):
        with pytest.raises(InputError, match="does not contain a job"):
            ReviewSession(tmp_path)

    def test_a_job_without_labelled_images_is_refused(self, tmp_path):
        failed = Record(image="z.png", stem="z", path="z.png", status="failed", error="broken")
        RecordFile(tmp_path).append([failed])
        PROMPTS.save(tmp_path / "prompts.yaml")
        with pytest.raises(InputError, match="no labelled images"):
            ReviewSession(tmp_path)

    def test_goes_through_the_queue(self, session):
        assert [p.image for p in session.queue] == ["a.png", "sub/b.png", "sub/c.d.png"]
        assert not session.move(-1)
        assert session.move(1)
        assert session.move(1)
        assert session.current.labelled.image == "sub/c.d.png"
        np.testing.assert_array_equal(session.current.labels, scene(2))
        assert session.current.image.shape == (40, 60, 3)
        assert not session.move(1)
        assert session.current.labelled.image == "sub/c.d.png"

    def test_next_unchecked_goes_round_the_end(self, session):
        session.move(1)
        session.accept()
        assert session.current.labelled.image == "sub/c.d.png"
        assert session.move_to_unchecked()
        assert session.current.labelled.image == "a.png"
        session.accept()
        assert session.move_to_unchecked()
        assert session.current.labelled.image == "sub/c.d.png"
        session.accept()
        assert (session.counts.checked, session.total) == (3, 3)
        assert not session.move_to_unchecked()

    def test_starts_where_it_was_left(self, job, session):
        session.accept()
        again = ReviewSession(job)
        again.arrange("file name")
        assert again.current.labelled.image == "sub/b.png"
        assert [p.image for p in again.queue] == ["a.png", "sub/b.png", "sub/c.d.png"]
        again.arrange("file name", only_unchecked=True)
        assert [p.image for p in again.queue] == ["sub/b.png", "sub/c.d.png"]

    def test_moving_on_saves_and_accepts_but_leaves_a_rejection(self, job, session):
        session.reject()
        session.move(-1)
        session.current.labels = np.full((40, 60), 3, np.uint8)
        session.move(1)
        session.current.labels = np.full((40, 60), 1, np.uint8)
        session.move(1)
        reviews = read_reviews(job)
        assert reviews["a.png"].state == "rejected"
        assert reviews["sub/b.png"].state == "accepted"
        assert (read_mask(job / "masks" / "a.png") == 3).all()
        assert (read_mask(job / "masks" / "sub/b.png") == 1).all()

    def test_looking_without_painting_decides_nothing(self, job, session):
        session.move(1)
        session.move(-1)
        assert read_reviews(job) == {}
        assert session.counts.checked == 0

    def test_what_cannot_be_saved_stays_open(self, job, session):
        session.current.labels = np.full((40, 60), 99, np.uint8)
        for leave in (session.accept, lambda: session.move(1), lambda: session.arrange()):
            with pytest.raises(InputError, match="label 99"):
                leave()
            assert session.current.labelled.image == "a.png"
            assert session.edited

    def test_a_disk_that_cannot_be_written_is_said(self, job, session):
        (job / "reviews.jsonl").mkdir()
        with pytest.raises((InputError, OutputError), match=r"Cannot write .*reviews\.jsonl"):
            session.accept()
        assert session.current.labelled.image == "a.png"

    def test_a_mask_of_another_size_is_said_to_be_one(self, job):
        Image.new("L", (30, 20)).save(job / "masks" / "a.png")
        session = ReviewSession(job)
        session.arrange("file name")
        assert session.current is None
        assert "the mask" in session.problem
        assert "has 30x20 pixels but its image has 60x40; save it at the" in session.problem

    def test_an_image_of_another_size_is_said_and_can_be_passed(self, job):
        Image.new("RGB", (10, 10)).save(job.parent / "images" / "sub" / "b.png")
        session = ReviewSession(job)
        session.arrange("file name")
        session.move(1)
        assert session.current is None
        assert "restore the image that was labelled" in session.problem
        assert not session.accept()
        session.reject()
        assert session.current.labelled.image == "sub/c.d.png"
        assert read_reviews(job)["sub/b.png"].state == "rejected"

    def test_it_needs_neither_napari_nor_torch(self):
        code = (
            "import sys, napari_dinoiser.review.review_session\n"
            "print(*{'napari', 'qtpy', 'torch', 'open_clip'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == ("", "")


def keep(session):
    """Keep unsaved edits, and wait until they are on the disk."""
    session.keep_unsaved()
    while session._unsaved._writing and not session._unsaved._writing.done():
        pass


class TestCrash:
    def test_edits_of_a_killed_process_are_offered_again(self, job):
        code = textwrap.dedent(
            """
            import sys, time
            import numpy as np
            from pathlib import Path
            from napari_dinoiser.review.review_session import ReviewSession

            session = ReviewSession(Path(sys.argv[1]))
            session.arrange("file name")
            session.move(1)
            session.current.labels[5:20, 30:50] = 7
            while True:
                session.keep_unsaved()
                time.sleep(0.05)
                print("painted", flush=True)
            """
        )
        command = [sys.executable, "-c", code, str(job)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while not (job / ".unsaved" / "sub" / "b.png").exists():
                assert process.stdout.readline() == "painted\n"
            process.send_signal(signal.SIGKILL)
        painted = scene(1)
        painted[5:20, 30:50] = 7
        np.testing.assert_array_equal(read_mask(job / "masks" / "sub/b.png"), scene(1))

        session = ReviewSession(job)
        session.arrange("file name")
        assert session.current.labelled.image == "sub/b.png", "it comes before everything"
        assert session.current.recovered
        assert session.edited
        np.testing.assert_array_equal(session.current.labels, painted)
        session.accept()
        np.testing.assert_array_equal(read_mask(job / "masks" / "sub/b.png"), painted)
        session.move(-1)
        assert not session.current.recovered
        assert not list((job / ".unsaved").rglob("*.png"))

    @pytest.mark.parametrize("leave", ["revert", "save", "undo"])
    def test_nothing_is_offered_once_it_is_saved_or_given_up(self, job, session, leave):
        session.current.labels[:] = 7
        keep(session)
        assert list((job / ".unsaved").rglob("*.png"))
        if leave == "revert":
            session.revert()
            assert not session.edited
        elif leave == "undo":
            session.current.labels = session.current.saved.copy()
        session.move(1)
        again = ReviewSession(job)
        again.arrange("file name")
        assert not again.current.recovered
        assert (read_mask(job / "masks" / "a.png") == 7).all() == (leave == "save")

    def test_a_crash_between_saving_and_tidying_up_offers_nothing(self, job, session):
        session.current.labels[:] = 7
        keep(session)
        left = next((job / ".unsaved").rglob("*.png")).read_bytes()
        session.move(1)
        (job / ".unsaved" / "a.png").write_bytes(left)
        again = ReviewSession(job)
        again.arrange("file name")
        assert not again.current.recovered
        assert not (job / ".unsaved" / "a.png").exists()

    def test_unsaved_edits_are_not_taken_for_images(self, job, session):
        session.current.labels[:] = 7
        keep(session)
        export(job, ["coco"])
        assert len(list(read_records(job))) == 3
        from dinoiser.images.inputs import find_images

        assert not any(".unsaved" in str(image.path) for image in find_images([job]))
