"""After a review: exports, the report, and running the job again."""

import os

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from dinoiser.batch import export, run
from dinoiser.batch.report.page import write_report
from dinoiser.batch.reviews import read_reviews
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from napari_dinoiser.review.review_session import ReviewSession
from tests.helpers.export_jobs import IDS, decodes, scene
from tests.helpers.job_driver import job_of


class TestExports:
    @decodes
    def test_corrected_masks_are_exported_and_rejected_images_left_out(self, job, session):
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

    def test_an_image_rejected_after_an_export_leaves_the_yolo_data(self, job, session):
        export(job, ["yolo"])
        assert (job / "labels" / "a.txt").exists()
        session.reject()
        export(job, ["yolo"])
        assert not (job / "labels" / "a.txt").exists()
        assert not os.path.lexists(job / "images" / "a.png")
        assert (job / "labels" / "sub" / "b.txt").exists()
        assert (job.parent / "images" / "a.png").exists()

    def test_the_report_is_written_anew_where_there_is_one(self, job, session, dinoiser):
        session.current.labels = np.full((40, 60), 7, np.uint8)
        session.accept()
        session.reject()
        assert dinoiser("export", job, "-f", "png")[0] == 0
        assert not (job / "report.html").exists()
        write_report(job).write_text("an older one")
        assert dinoiser("export", job, "-f", "png")[0] == 0
        assert "2 of 3 images checked" in (job / "report.html").read_text()


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
            return job_of((folder,), output, prompts, **settings)

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
        run(make(overwrite=True, discard_reviews=True))
        assert read_reviews(make().output) == {}
        np.testing.assert_array_equal(read_mask(make().output / "masks" / "a.png"), before)

    def test_a_mask_that_was_removed_is_made_again(self, make):
        run(make())
        self.correct(make())
        (make().output / "masks" / "a.png").unlink()
        run(make())
        assert (make().output / "masks" / "a.png").exists()
