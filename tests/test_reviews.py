"""Reviewing without a window: what is saved, in which order, and what survives a crash."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from dinoiser.batch import LabelJob, export, read_records, run
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.reviews import (
    LabelledPicture,
    Review,
    Reviews,
    read_labelled,
    read_reviews,
    sort_pictures,
)
from dinoiser.errors import InputError, OutputError
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from napari_dinoiser.review_session import ReviewSession
from tests.export_jobs import IDS, PROMPTS, decodes, label_arrays, make_job, scene

NAMES = ("a.png", "sub/b.png", "sub/c.d.png")


@pytest.fixture
def job(tmp_path):
    return make_job(tmp_path, {name: scene(seed) for seed, name in enumerate(NAMES)})


@pytest.fixture
def session(job):
    session = ReviewSession(job)
    session.arrange("file name")
    return session


def mask_path(job, name):
    return job / "masks" / f"{name.removesuffix('.png')}.png"


def picture(name, certainty=0.5, pixels=None):
    stem = name.rpartition(".")[0]
    return LabelledPicture(name, stem, f"/{name}", (2, 2), certainty, pixels or {})


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
        assert read["sub/b.png"].pixels == {7: 2400}
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
        np.testing.assert_array_equal(read_mask(mask_path(job, "a.png")), labels)
        assert sum(review.pixels.values()) == labels.size
        assert all(np.count_nonzero(labels == label) == n for label, n in review.pixels.items())

    def test_masks_keep_the_palette(self, job):
        before = Image.open(mask_path(job, "a.png")).getpalette()
        Reviews(job, PROMPTS).save(read_labelled(job)[0], "accepted", np.ones((40, 60), int))
        assert Image.open(mask_path(job, "a.png")).getpalette() == before

    @pytest.mark.parametrize(
        ("labels", "problem"),
        [
            (np.zeros((40, 61), np.uint8), r"labels of a.png are \(40, 61\) pixels"),
            (np.full((40, 60), 2, np.uint8), "label 2 of a.png is none of the job's classes"),
            (np.full((40, 60), 256 + 7, np.int32), "label 263 of a.png"),
            (np.full((40, 60), -1, np.int32), "label -1 of a.png"),
        ],
    )
    def test_labels_that_make_no_mask_change_nothing(self, job, labels, problem):
        before = read_mask(mask_path(job, "a.png"))
        with pytest.raises(InputError, match=problem):
            Reviews(job, PROMPTS).save(read_labelled(job)[0], "accepted", labels)
        np.testing.assert_array_equal(read_mask(mask_path(job, "a.png")), before)
        assert read_reviews(job) == {}

    def test_masks_outside_the_folder_are_refused(self, job):
        bad = Record(image="x.png", stem="../x", path="x.png", status="done", size=(40, 60))
        RecordFile(job).append([bad])
        [outside] = [p for p in read_labelled(job) if p.image == "x.png"]
        with pytest.raises(InputError, match="leads out"):
            Reviews(job, PROMPTS).save(outside, "accepted", np.zeros((40, 60), np.uint8))
        assert not (job / "x.png").exists()

    def test_failed_pictures_are_not_reviewed(self, job):
        failed = Record(image="z.png", stem="z", path="z.png", status="failed", error="broken")
        RecordFile(job).append([failed])
        assert [p.image for p in read_labelled(job)] == list(NAMES)


class TestOrder:
    def test_least_certain_first_and_nothing_known_before_all(self):
        pictures = [picture("a", 0.9), picture("b", 0.2), picture("c", None), picture("d", 0.2)]
        names = [p.image for p in sort_pictures(pictures, {}, "least certain")]
        assert names == ["c", "b", "d", "a"]

    def test_by_name(self):
        pictures = [picture("b"), picture("a/z"), picture("a/b")]
        names = [p.image for p in sort_pictures(pictures, {}, "file name")]
        assert names == ["a/b", "a/z", "b"]

    def test_by_the_share_of_a_class_as_it_is_after_corrections(self):
        pictures = [
            picture("few", pixels={0: 90, 7: 10}),
            picture("none", pixels={0: 100}),
            picture("small but full", pixels={7: 4}),
            picture("corrected", pixels={7: 100}),
        ]
        reviews = {"corrected": Review(image="corrected", edited=True, pixels={0: 99, 7: 1})}
        names = [p.image for p in sort_pictures(pictures, reviews, "class share", 7)]
        assert names == ["small but full", "few", "corrected", "none"]

    @given(st.lists(st.floats(0, 1) | st.none(), max_size=20))
    def test_no_picture_is_lost(self, certainties):
        pictures = [picture(f"{i}.png", c) for i, c in enumerate(certainties)]
        for order in ("least certain", "file name", "class share"):
            assert sorted(sort_pictures(pictures, {}, order)) == sorted(pictures)


class TestExports:
    @decodes
    def test_corrected_masks_are_exported_and_rejected_pictures_left_out(self, job, session):
        corrected = scene()[:, ::-1].copy()
        session.current.labels = corrected
        session.accept()
        session.reject()
        progress = []
        export(job, ["coco", "panoptic"], progress=lambda *at: progress.append(at))
        assert progress[-1] == (2, 2)
        coco = COCO(str(job / "annotations.json"))
        assert {i["file_name"] for i in coco.imgs.values()} == {"a.png", "sub/c.d.png"}
        [key] = [k for k, i in coco.imgs.items() if i["file_name"] == "a.png"]
        for label in IDS:
            annotations = coco.loadAnns(coco.getAnnIds(key, catIds=[label]))
            exported = np.any([coco.annToMask(a) for a in annotations], axis=0)
            np.testing.assert_array_equal(exported, corrected == label)

    def test_a_picture_rejected_after_an_export_leaves_the_yolo_data(self, job, session):
        export(job, ["yolo"])
        assert (job / "labels" / "a.txt").exists()
        session.reject()
        export(job, ["yolo"])
        assert not (job / "labels" / "a.txt").exists()
        assert not os.path.lexists(job / "images" / "a.png")
        assert (job / "labels" / "sub" / "b.txt").exists()
        assert (job.parent / "pictures" / "a.png").exists()


class TestRunningTheJobAgain:
    @pytest.fixture
    def make(self, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        rng = np.random.default_rng(3)
        for name in ("a", "b"):
            Image.fromarray(draw_scene(rng, (96, 128)).image).save(folder / f"{name}.png")
        prompts = PromptSet.from_names(["background", "ball", "box"])

        def make(**settings):
            output = tmp_path / "out"
            return LabelJob((folder,), output, prompts, model="tiny", device="cpu", **settings)

        return make

    def correct(self, job):
        session = ReviewSession(job.output)
        session.arrange("file name")
        session.current.labels = np.full((96, 128), 2, np.uint8)
        session.accept()

    def test_corrected_masks_are_kept_also_when_formats_are_added(self, make):
        run(make())
        self.correct(make())
        summary = run(make(formats=("png", "confidence", "coco")))
        assert summary.done == 2
        assert (read_mask(make().output / "masks" / "a.png") == 2).all()
        assert (make().output / "confidence" / "b.png").exists()

    def test_overwriting_forgets_the_reviews_with_the_masks(self, make):
        run(make())
        before = read_mask(make().output / "masks" / "a.png")
        self.correct(make())
        run(make(overwrite=True))
        assert read_reviews(make().output) == {}
        np.testing.assert_array_equal(read_mask(make().output / "masks" / "a.png"), before)

    def test_a_mask_that_was_removed_is_made_again(self, make):
        run(make())
        self.correct(make())
        (make().output / "masks" / "a.png").unlink()
        run(make())
        assert (make().output / "masks" / "a.png").exists()


class TestSession:
    def test_no_job_is_refused_in_a_sentence(self, tmp_path):
        with pytest.raises(InputError, match="holds no job"):
            ReviewSession(tmp_path)

    def test_a_job_without_labelled_pictures_is_refused(self, tmp_path):
        failed = Record(image="z.png", stem="z", path="z.png", status="failed", error="broken")
        RecordFile(tmp_path).append([failed])
        PROMPTS.save(tmp_path / "prompts.yaml")
        with pytest.raises(InputError, match="no labelled pictures"):
            ReviewSession(tmp_path)

    def test_goes_through_the_queue(self, session):
        assert [p.image for p in session.queue] == list(NAMES)
        assert not session.move(-1)
        assert session.move(1)
        assert session.move(1)
        assert session.current.picture.image == "sub/c.d.png"
        np.testing.assert_array_equal(session.current.labels, scene(2))
        assert session.current.image.shape == (40, 60, 3)
        assert not session.move(1)
        assert session.current.picture.image == "sub/c.d.png"

    def test_next_unchecked_goes_round_the_end(self, session):
        session.move(1)
        session.accept()
        assert session.current.picture.image == "sub/c.d.png"
        assert session.move_to_unchecked()
        assert session.current.picture.image == "a.png"
        session.accept()
        assert session.move_to_unchecked()
        assert session.current.picture.image == "sub/c.d.png"
        session.accept()
        assert (session.checked, session.total) == (3, 3)
        assert not session.move_to_unchecked()

    def test_starts_where_it_was_left(self, job, session):
        session.accept()
        again = ReviewSession(job)
        again.arrange("file name")
        assert again.current.picture.image == "sub/b.png"
        assert [p.image for p in again.queue] == list(NAMES)
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
        assert (read_mask(mask_path(job, "a.png")) == 3).all()
        assert (read_mask(mask_path(job, "sub/b.png")) == 1).all()

    def test_looking_without_painting_decides_nothing(self, job, session):
        session.move(1)
        session.move(-1)
        assert read_reviews(job) == {}
        assert session.checked == 0

    def test_what_cannot_be_saved_stays_open(self, job, session):
        session.current.labels = np.full((40, 60), 99, np.uint8)
        for leave in (session.accept, lambda: session.move(1), lambda: session.arrange()):
            with pytest.raises(InputError, match="label 99"):
                leave()
            assert session.current.picture.image == "a.png"
            assert session.edited

    def test_a_disk_that_cannot_be_written_is_said(self, job, session):
        (job / "reviews.jsonl").mkdir()
        with pytest.raises((InputError, OutputError), match=r"Cannot write .*reviews\.jsonl"):
            session.accept()
        assert session.current.picture.image == "a.png"

    def test_a_picture_of_another_size_is_said_and_can_be_passed(self, job):
        Image.new("RGB", (10, 10)).save(job.parent / "pictures" / "sub" / "b.png")
        session = ReviewSession(job)
        session.arrange("file name")
        session.move(1)
        assert session.current is None
        assert "put back the picture that was labelled" in session.problem
        assert not session.accept()
        session.reject()
        assert session.current.picture.image == "sub/c.d.png"
        assert read_reviews(job)["sub/b.png"].state == "rejected"

    def test_it_needs_neither_napari_nor_torch(self):
        code = (
            "import sys, napari_dinoiser.review_session\n"
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
            from napari_dinoiser.review_session import ReviewSession

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
        np.testing.assert_array_equal(read_mask(mask_path(job, "sub/b.png")), scene(1))

        session = ReviewSession(job)
        session.arrange("file name")
        assert session.current.picture.image == "sub/b.png", "it comes before everything"
        assert session.current.recovered
        assert session.edited
        np.testing.assert_array_equal(session.current.labels, painted)
        session.accept()
        np.testing.assert_array_equal(read_mask(mask_path(job, "sub/b.png")), painted)
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
        assert (read_mask(mask_path(job, "a.png")) == 7).all() == (leave == "save")

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

    def test_unsaved_edits_are_not_taken_for_pictures(self, job, session):
        session.current.labels[:] = 7
        keep(session)
        export(job, ["coco"])
        assert len(list(read_records(job))) == 3
        from dinoiser.inputs import find_images

        assert not any(".unsaved" in str(image.path) for image in find_images([job]))
