"""A job's folder when people change it: no correction lost, nothing of the user's touched."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch import export, read_records, run
from dinoiser.batch.engines.label_images import ImageLabeller
from dinoiser.batch.folder import WRITER, sole_writer
from dinoiser.batch.job_images import Naming, find_job_images
from dinoiser.batch.records import MERGED, RECORDS, RecordFile, merge_records
from dinoiser.batch.reviews import REVIEWS, Reviews, read_labelled, read_reviews
from dinoiser.errors import InputError, OutputError, SettingsError
from dinoiser.export import read_mask
from dinoiser.export.options import ExportOptions
from dinoiser.images.inputs import ImageFile
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.settings import SegmentSettings
from tests.helpers.job_driver import changed, job_of

PROMPTS = PromptSet.parse("background, red circle, blue square")
SIZE = (64, 80)
SCENES = [scene.image for scene in draw_scenes(6, 4, SIZE)]


def draw(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(SCENES[number]).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two images."""
    for number, name in enumerate(("a.jpg", "b.jpg")):
        draw(tmp_path / "in" / name, number)
    return tmp_path / "in"


@pytest.fixture
def job(folder, tmp_path):
    return job_of((folder,), tmp_path / "out", PROMPTS, formats=("png", "coco"), scheduler="sync")


def correct(output, image, label=2, state="accepted"):
    """Paint a mask over with one label, as a person would."""
    [labelled] = [one for one in read_labelled(output) if one.image == image]
    Reviews(output, PROMPTS).save(labelled, state, np.full(SIZE, label))


def is_corrected(output, stem="a", label=2):
    return bool((read_mask(output / "masks" / f"{stem}.png") == label).all())


def coco(output):
    document = json.loads((output / "annotations.json").read_text())
    assert len({i["file_name"] for i in document["images"]}) == len(document["images"])
    return sorted(image["file_name"] for image in document["images"])


def stems(output):
    return {record.image: record.stem for record in read_records(output)}


class TestNames:
    @pytest.mark.parametrize("newcomer", ["a.jpeg", "a.png", "A.png"])
    def test_a_newcomer_of_the_same_stem_gets_the_longer_name(self, job, folder, newcomer):
        run(job)
        correct(job.output, "a.jpg")
        draw(folder / newcomer, 3)
        summary = run(job)
        assert (summary.total, summary.resumed) == (3, 2)
        assert stems(job.output) == {"a.jpg": "a", "b.jpg": "b", newcomer: newcomer}
        assert is_corrected(job.output)
        assert coco(job.output) == sorted(["a.jpg", "b.jpg", newcomer])

    def test_yolo_has_no_image_twice(self, job, folder):
        job = changed(job, formats=("png", "yolo"))
        run(job)
        draw(folder / "a.jpeg", 3)
        run(job)
        for kind in ("images", "labels"):
            found = sorted(path.stem for path in (job.output / kind).glob("[!.]*"))
            assert found == ["a", "a.jpeg", "b"]

    def test_names_stay_when_the_inputs_get_another_root(self, tmp_path):
        draw(tmp_path / "r/day/1.jpg")
        draw(tmp_path / "r/night/1.jpg", 1)
        job = job_of((tmp_path / "r/day",), tmp_path / "out", PROMPTS, formats=("png", "coco"))
        run(job)
        summary = run(replace(job, inputs=(tmp_path / "r/day", tmp_path / "r/night")))
        assert (summary.total, summary.resumed) == (2, 1)
        assert coco(job.output) == ["1.jpg", "night/1.jpg"]
        run(replace(job, inputs=(tmp_path / "r/night",)))
        assert coco(job.output) == ["night/1.jpg"]

    def test_images_that_moved_with_their_folder_are_the_same(self, job, folder, tmp_path):
        run(job)
        correct(job.output, "a.jpg")
        folder.rename(tmp_path / "elsewhere")
        summary = run(replace(job, inputs=(tmp_path / "elsewhere",)))
        assert (summary.total, summary.resumed, summary.notes) == (2, 2, [])
        assert is_corrected(job.output)
        assert {os.path.exists(record.path) for record in read_records(job.output)} == {True}

    def test_images_under_another_path_to_their_folder_are_the_same(self, job, folder, tmp_path):
        """A link to it, as on other systems another drive's letter."""
        run(job)
        correct(job.output, "a.jpg")
        (tmp_path / "link").symlink_to(folder, target_is_directory=True)
        summary = run(replace(job, inputs=(tmp_path / "link",)))
        assert (summary.total, summary.resumed, summary.notes) == (2, 2, [])
        assert is_corrected(job.output)
        assert {os.path.dirname(record.path) for record in read_records(job.output)} == {
            str(tmp_path / "link")
        }

    def test_other_images_of_the_same_names_are_others(self, job, tmp_path):
        run(job)
        draw(tmp_path / "more/a.jpg", 4)
        summary = run(replace(job, inputs=(*job.inputs, tmp_path / "more")))
        assert summary.resumed == 2
        assert coco(job.output) == ["a.jpg", "b.jpg", "more/a.jpg"]

    @pytest.mark.parametrize("name", ["a", "x" * 250])
    def test_an_image_that_cannot_have_its_name_fails_alone(self, tmp_path, name):
        folder = tmp_path / "in"
        draw(folder / f"{name}.jpg")
        draw(folder / f"{name}.png" / "x.jpg" if name == "a" else folder / f"{name}.png", 1)
        draw(folder / "b.jpg", 2)
        job = job_of((folder,), tmp_path / "out", PROMPTS, scheduler="sync")
        for _ in range(2):
            summary = run(job)
            assert summary.done + len(summary.failures) == 3
            assert 1 <= len(summary.failures) <= 2
            assert "b.jpg" not in summary.failures
            assert all("rename" in why or "shorter" in why for why in summary.failures.values())

    def test_a_mask_whose_place_was_taken_is_made_once_it_is_free(self, job, folder):
        run(job)
        draw(folder / "c.jpg", 2)
        (place := job.output / "masks" / "c.png").mkdir()
        assert list(run(job).failures) == ["c.jpg"]
        place.rmdir()
        summary = run(job)
        assert (summary.done, summary.resumed, summary.failures) == (3, 2, {})
        assert coco(job.output) == ["a.jpg", "b.jpg", "c.jpg"]


class TestCorrections:
    def test_a_torn_record_does_not_cost_the_mask(self, job):
        run(job)
        correct(job.output, "a.jpg")
        lines = (job.output / MERGED).read_bytes().splitlines(keepends=True)
        (job.output / MERGED).write_bytes(lines[0][:30] + b"\n" + b"".join(lines[1:]))
        summary = run(job)
        assert any("1 damaged line in records" in note for note in summary.notes)
        assert is_corrected(job.output)
        assert coco(job.output) == ["a.jpg", "b.jpg"]

    def test_an_image_that_is_given_out_again_keeps_its_correction(self, job, tiny):
        run(job)
        correct(job.output, "a.jpg")
        pipeline = Pipeline.build(tiny, SegmentSettings(), one_thread=True)
        records = []
        ImageLabeller(job, pipeline).label(find_job_images(job), records)
        assert [record.status for record in records] == ["done", "done"]
        assert records[0].pixels == {2: SIZE[0] * SIZE[1], 255: 0}
        assert is_corrected(job.output)

    def test_a_correction_while_the_model_is_at_work_is_kept(self, job, tiny):
        run(job)
        pipeline = Pipeline.build(tiny, SegmentSettings(), one_thread=True)

        class Slow(Pipeline):
            def segment(self, images, prompts):
                correct(job.output, "a.jpg")
                return pipeline.segment(images, prompts)

        slow = Slow(**{name: getattr(pipeline, name) for name in Pipeline.__dataclass_fields__})
        ImageLabeller(job, slow).label(find_job_images(job)[:1], [])
        assert is_corrected(job.output)

    def test_starting_anew_over_reviews_is_refused(self, job, dinoiser):
        run(job)
        correct(job.output, "a.jpg")
        anew = changed(job, overwrite=True)
        with pytest.raises(SettingsError, match=r"reviews of 1 image, 1 of them.*--discard-revi"):
            run(anew)
        assert is_corrected(job.output)
        assert run(changed(anew, discard_reviews=True)).resumed == 0
        assert not is_corrected(job.output)

    def test_a_replaced_image_is_labelled_anew_and_a_corrected_one_is_named(self, job, folder):
        run(job)
        correct(job.output, "a.jpg")
        before = read_mask(job.output / "masks/b.png")
        for number, name in enumerate(("a.jpg", "b.jpg")):
            draw(folder / name, 4 + number)
        summary = run(job)
        assert summary.resumed == 1
        assert is_corrected(job.output)
        assert not np.array_equal(read_mask(job.output / "masks/b.png"), before)
        assert any("1 image replaced since the mask was corrected" in n for n in summary.notes)
        assert "1 image replaced since an earlier run, to be labelled anew: b.jpg" in summary.notes

    def test_a_copy_of_the_same_image_is_no_other(self, job, folder):
        run(job)
        content = (folder / "a.jpg").read_bytes()
        (folder / "a.jpg").unlink()
        (folder / "a.jpg").write_bytes(content)
        os.utime(folder / "a.jpg", (1, 1))
        assert run(job).resumed == 2


class TestInputs:
    def test_what_is_gone_is_left_out_named_and_pruned(self, job, folder):
        job = changed(job, formats=("png", "overlay", "coco", "panoptic", "yolo"))
        run(job)
        (folder / "b.jpg").unlink()
        summary = run(job)
        assert summary.total == 1
        [note] = summary.notes
        assert note.startswith("1 image labelled earlier, no longer among the inputs")
        assert "b.jpg" in note
        assert coco(job.output) == ["a.jpg"]
        assert (job.output / "masks/b.png").is_file()
        export(job.output, ["yolo", "panoptic"])
        assert not [
            path for path in job.output.rglob("b.*") if path.parts[-2] not in "masks overlays"
        ]
        assert run(changed(job, prune=True)).notes == [
            "1 image labelled earlier and no longer among the inputs, whose results were removed: "
            "b.jpg"
        ]
        assert not list(job.output.rglob("b.*"))
        draw(folder / "b.jpg", 1)
        assert run(job).done == 2

    @pytest.mark.parametrize("anew", [False, True])
    def test_no_format_keeps_files_of_what_is_removed(self, job, folder, anew):
        """Neither what was pruned, nor what another job had labelled in the folder."""
        for name in ("b.jpg", "sub/b.jpg"):
            draw(folder / name, 1)
        run(job)
        export(job.output, ["panoptic", "yolo", "gray", "voc", "hf", "cvat", "labelstudio"])
        for options in (ExportOptions(flat=True), ExportOptions(layout="datumaro")):
            export(job.output, ["yolo" if options.flat else "coco"], options)
        own = job.output / "voc/JPEGImages/b.txt"
        own.write_text("the user's")
        draw(folder / "a.jpg")
        shutil.rmtree(folder / "sub")
        (folder / "b.jpg").unlink()
        summary = run(changed(job, prune=not anew, overwrite=anew))
        left = {*job.output.rglob("b.*"), *job.output.rglob("*__b.*")}
        assert left == {own}
        assert summary.notes[-1] == (
            "cvat.zip, data.yaml, datumaro, gray, hf, images, labels, labelstudio.json, "
            "labelstudio.xml, panoptic, panoptic.json, voc hold the labels from before: "
            "export again"
        )

    def test_exports_that_a_run_makes_old_are_named(self, job, folder):
        run(job)
        export(job.output, ["voc", "gray"])
        assert run(job).notes == []  # nothing has changed
        draw(folder / "c.jpg", 3)
        assert run(job).notes == ["gray, voc hold the labels from before: export again"]
        export(job.output, ["voc", "gray"])
        (folder / "c.jpg").unlink()
        assert run(job).notes[-1].startswith("gray, voc hold the labels from before")
        assert not [note for note in run(job).notes if "from before" in note]

    def test_a_folder_of_the_users_loses_nothing_to_pruning(self, job, folder):
        draw(folder / "sub" / "c.jpg")
        run(job)
        theirs = [
            job.output / place
            for place in ("panoptic/b.png", "gray/b.png", "voc/JPEGImages/b.jpg", "labels/b.txt")
        ]
        for path in theirs:
            path.parent.mkdir(parents=True)
            path.write_text("the user's")
        (folder / "b.jpg").unlink()
        run(changed(job, prune=True))
        assert not (job.output / "masks/b.png").exists()
        assert all(path.exists() for path in theirs)

    def test_a_folder_of_the_users_is_no_old_export(self, job, folder):
        draw(folder / "gray" / "c.jpg")
        here = replace(job, output=folder)
        run(here)
        draw(folder / "d.jpg")
        assert not [note for note in run(here).notes if "from before" in note]

    def test_what_comes_back_is_exported_again(self, job, folder):
        run(job)
        (folder / "b.jpg").rename(folder.parent / "b.jpg")
        run(job)
        (folder.parent / "b.jpg").rename(folder / "b.jpg")
        assert run(job).resumed == 2
        assert coco(job.output) == ["a.jpg", "b.jpg"]

    def test_pruning_keeps_corrections_unless_told_otherwise(self, job, folder):
        run(job)
        correct(job.output, "b.jpg")
        (folder / "b.jpg").unlink()
        summary = run(changed(job, prune=True))
        assert any("were not pruned" in note for note in summary.notes)
        assert is_corrected(job.output, "b")
        run(changed(job, prune=True, discard_reviews=True))
        assert not (job.output / "masks/b.png").exists()

    def test_another_jobs_folder_is_passed_over(self, job, folder):
        run(replace(job, output=folder / "earlier"))
        (folder / "notes.txt").touch()
        (folder / "c.cr2").touch()
        summary = run(job)
        assert summary.total == 2
        jobs, others = summary.notes
        assert "earlier holds the results of a job and was passed over" in jobs
        assert others.startswith("2 other files passed over (")
        assert ".cr2 1" in others

    @pytest.mark.parametrize("pattern", ["", "**/*.jpg", "*/*.jpg"])
    def test_results_among_the_photographs_are_no_photographs(self, job, folder, tmp_path, pattern):
        run(replace(changed(job, formats=("png", "overlay")), output=folder))
        other = replace(job, inputs=(folder / pattern,), output=tmp_path / "other")
        (folder / "sub").mkdir()
        (folder / "a.jpg").rename(folder / "sub" / "a.jpg")
        summary = run(other)
        assert summary.total == (1 if pattern.startswith("*/") else 2)
        assert any(f"{folder} holds the results of a job" in note for note in summary.notes)
        mine = run(replace(job, output=folder)).notes
        assert not any("holds the results of a job" in note for note in mine)

    def test_photographs_in_a_folder_called_images_stay_photographs(self, folder, tmp_path):
        folder = folder.rename(tmp_path / "images")
        job = job_of((folder,), tmp_path, PROMPTS, formats=("png",), scheduler="sync")
        run(job)
        export(tmp_path, ["yolo"])
        summary = run(job)
        assert (summary.total, summary.resumed, summary.notes) == (2, 2, [])
        assert run(replace(job, inputs=(tmp_path,), output=tmp_path / "other")).total == 2
        pattern = replace(job, inputs=(folder / "*.jpg",), output=tmp_path / "third")
        assert run(pattern).total == 2

    def test_the_folder_of_a_job_is_refused_in_place_of_its_photographs(self, job, tmp_path):
        run(changed(job, formats=("png", "overlay")))
        with pytest.raises(InputError, match="holds the results of a job and no other images"):
            run(replace(job, inputs=(job.output,), output=tmp_path / "other"))
        assert not (tmp_path / "other").exists()

    def test_rejected_images_lose_their_derived_files(self, job):
        job = changed(job, formats=("png", "overlay", "panoptic"))
        run(job)
        correct(job.output, "a.jpg", state="rejected")
        export(job.output, ["overlay", "panoptic"])
        assert [path.name for path in (job.output / "panoptic").iterdir()] == ["b.png"]
        assert [path.name for path in (job.output / "overlays").iterdir()] == ["b.jpg"]


class TestOwnership:
    @pytest.mark.parametrize("name", ["masks", "annotations.json", "prompts.yaml", "report.html"])
    def test_what_is_not_ours_is_not_touched(self, job, name):
        job = changed(job, report=True)
        (job.output / "masks").mkdir(parents=True) if name == "masks" else None
        job.output.mkdir(exist_ok=True)
        if name != "masks":
            (job.output / name).write_text("mine")
        before = sorted(job.output.rglob("*"))
        with pytest.raises(SettingsError, match=f"holds {name}, which no job of dinoiser"):
            run(job)
        assert sorted(job.output.rglob("*")) == before

    def test_links_that_lead_out_are_refused(self, job, tmp_path):
        run(job)
        shutil.move(job.output / "masks", tmp_path / "masks")
        (job.output / "masks").symlink_to(tmp_path / "masks")
        for work in (lambda: run(job), lambda: export(job.output, ["coco"])):
            with pytest.raises(OutputError, match=r"links that lead out of it \(masks\)"):
                work()

    @pytest.mark.parametrize("stem", ["../../precious", "/precious", ""])
    def test_a_stem_that_leads_out_is_a_damaged_record(self, job, tmp_path, stem):
        run(job)
        victim = tmp_path / "precious.png"
        victim.write_bytes(b"mine")
        [record, _] = read_records(job.output)
        evil = record.model_copy(update={"image": "z.jpg", "stem": stem})
        RecordFile(job.output).append([evil])
        damaged = []
        assert [r.image for r in read_records(job.output, damaged=damaged)] == ["a.jpg", "b.jpg"]
        assert len(damaged) == 1
        assert run(changed(job, overwrite=True)).done == 2
        assert victim.read_bytes() == b"mine"

    def test_a_review_whose_stem_leads_out_is_damaged(self, job):
        run(job)
        correct(job.output, "a.jpg")
        with (job.output / REVIEWS).open("a") as file:
            file.write('{"image": "b.jpg", "stem": "../../precious", "state": "rejected"}\n')
        assert set(read_reviews(job.output)) == {"a.jpg"}

    def test_one_writer_at_a_time(self, job, dinoiser):
        run(job)
        with sole_writer(job.output, "label"):
            about = json.loads((job.output / WRITER).read_text())
            busy = rf"Process {os.getpid()} on {about['host']} \(label, since "
            with pytest.raises(OutputError, match=busy):
                run(job)
            code, _, errors = dinoiser("export", job.output, "-f", "coco")
            assert code == 2
            assert "wait for it or stop it" in " ".join(errors.split())
            correct(job.output, "a.jpg")  # reviewing is not writing
        assert run(job).resumed == 2

    def test_a_note_of_the_writer_that_cannot_be_removed_is_in_nobodys_way(self, tmp_path):
        with sole_writer(tmp_path, "label"):
            (tmp_path / WRITER).unlink()
            (tmp_path / WRITER).mkdir()  # cannot be removed like a file, whoever asks
        (tmp_path / WRITER).rmdir()
        with sole_writer(tmp_path, "export"):
            assert json.loads((tmp_path / WRITER).read_text())["work"] == "export"
        assert not (tmp_path / WRITER).exists()

    def test_twice_as_many_lost_records_take_twice_the_steps(self):
        def steps(count):
            """Functions that are called to give images their names back by their reviews."""
            files = [ImageFile(Path(f"/in/{i}.jpg"), f"{i}.jpg") for i in range(count)]
            naming, called = Naming(files), []
            sys.setprofile(lambda frame, event, what: event == "call" and called.append(1))
            try:
                for i in range(count):
                    naming.take_back(f"{i}.jpg", f"was-{i}")
            finally:
                sys.setprofile(None)
            assert {image.stem for image in naming.images()} == {f"was-{i}" for i in range(count)}
            return len(called)

        assert steps(200) < 2.5 * steps(100)

    def test_a_folder_that_is_moved_away_stops_the_run(self, job, folder, tmp_path):
        for number in range(30):
            draw(folder / f"{number}.jpg", number % 6)

        def move(progress):
            if progress.through == 3:
                job.output.rename(tmp_path / "away")

        with pytest.raises(OutputError, match="was moved, removed or unmounted"):
            run(job, progress=move)

    @pytest.mark.parametrize("part", ["masks", "records"])
    def test_a_folder_that_is_moved_away_within_a_write(
        self, job, folder, part, tmp_path, monkeypatch
    ):
        """Between the file beside a result's place and its renaming; and before a record."""
        (folder / "b.jpg").unlink()  # the other thread would be anywhere

        def moving(original):
            def write(*args):
                if (job.output / "masks").exists():
                    job.output.rename(tmp_path / "away")
                return original(*args)

            return write

        if part == "masks":
            monkeypatch.setattr("dinoiser.atomic.os.fsync", moving(os.fsync))
        else:
            monkeypatch.setattr(RecordFile, "append", moving(RecordFile.append))
        with pytest.raises(OutputError, match="was moved, removed or unmounted"):
            run(job)
        assert not job.output.exists()  # nothing is in the way of putting it back

    def test_killed_while_starting_anew_the_old_command_is_refused(self, job, monkeypatch):
        run(job)
        other = changed(job, overwrite=True)
        other = changed(other, prompts=PromptSet.parse("background, grass, sky"))

        def killed(output):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("dinoiser.batch.folder.remove_results", killed)
            with pytest.raises(KeyboardInterrupt):
                run(other)
        with pytest.raises(SettingsError, match="other settings"):
            run(job)
        with pytest.raises(SettingsError, match="run the last `dinoiser label` command again"):
            export(job.output, ["coco"])
        summary = run(changed(other, overwrite=False))
        assert (summary.done, summary.resumed) == (2, 0)
        assert PromptSet.load(job.output / "prompts.yaml").names == ("background", "grass", "sky")


class TestRecords:
    def test_the_newest_run_counts_whatever_the_clock_says(self, job, folder):
        run(job)
        os.utime(job.output / MERGED, (2e9, 2e9))  # the clock went back
        draw(folder / "a.jpg", 5)
        run(job)
        assert run(job).resumed == 2
        assert coco(job.output) == ["a.jpg", "b.jpg"]

    def test_export_does_not_leave_out_what_is_damaged(self, job, dinoiser):
        run(job)
        with (job.output / MERGED).open("ab") as file:
            file.write(b'{"image": "c.jpg", "status": "perhaps"}\n\xef\xbb\xbf{"image')
        with pytest.raises(InputError, match=r"2 damaged lines in records.labels.jsonl"):
            export(job.output, ["coco"])
        run(job)
        export(job.output, ["coco"])
        assert coco(job.output) == ["a.jpg", "b.jpg"]

    def test_hundreds_of_files_are_read_with_few_open_at_a_time(self, tmp_path):
        import resource

        record = {"path": "/x", "status": "done"}
        (tmp_path / RECORDS).mkdir()
        for number in range(400):
            line = json.dumps({"image": f"{number:03}.jpg", "stem": f"{number:03}", **record})
            (tmp_path / RECORDS / f"{number}.jsonl").write_text(line + "\n")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            assert len(list(read_records(tmp_path))) == 400
            merge_records(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [path.name for path in (tmp_path / RECORDS).iterdir()] == [MERGED.name]
