"""Other words for a job's images: what changes, what stays, and what a stop leaves."""

import shutil
import sys

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from dinoiser import safe_yaml
from dinoiser.batch import read_records, run
from dinoiser.batch.features import measure_features, remove_features
from dinoiser.batch.records import MERGED
from dinoiser.batch.relabel import plan, relabel
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews, unsaved_file
from dinoiser.errors import InputError, OutputError, SettingsError
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from tests.helpers.job_driver import PROGRAM, count_lines, job_of, kill_when
from tests.helpers.taught_jobs import SYNC, draw, label, masks

WORDS = PromptSet.parse("background, circle, star, square")
OTHERS = PromptSet.parse("background, heart, circle; disc, square")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("relabel") / "images"
    draw(folder, 8)
    return folder


@pytest.fixture(scope="module")
def labelled(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("labelled") / "out"
    assert label(images, out, WORDS).done == 8
    return out


@pytest.fixture
def out(labelled, tmp_path):
    return shutil.copytree(labelled, tmp_path / "out")


def again(out, words, **more):
    return relabel(out, words, running=SYNC, **more)


class TestWords:
    def test_the_masks_are_those_that_labelling_with_the_words_gives(self, images, out, tmp_path):
        assert again(out, OTHERS).done == 8
        words = PromptSet.load(out / "prompts.yaml")
        label(images, tmp_path / "anew", words)
        assert masks(out) == masks(tmp_path / "anew")

    def test_without_features_the_tower_gives_the_masks(self, images, out, tmp_path):
        remove_features(out)
        assert plan(out, OTHERS).with_features == 0
        assert plan(out, OTHERS).seconds > 0
        again(out, OTHERS)
        label(images, tmp_path / "anew", PromptSet.load(out / "prompts.yaml"), keep_features=False)
        assert masks(out) == masks(tmp_path / "anew")

    def test_classes_keep_ids_and_colours_and_an_id_is_not_given_again(self, out):
        again(out, OTHERS)
        words = PromptSet.load(out / "prompts.yaml")
        assert {c.name: c.id for c in words.classes} == {
            "background": 0,
            "circle": 1,
            "square": 3,
            "heart": 4,
        }
        assert words.by_name("circle").color == WORDS.by_name("circle").color
        again(out, PromptSet.parse("background, circle, moon, star"))
        words = PromptSet.load(out / "prompts.yaml")
        assert (words.by_name("moon").id, words.by_name("star").id) == (5, 2)

    def test_the_words_from_before_give_the_masks_from_before(self, out):
        before = masks(out)
        again(out, OTHERS)
        assert masks(out) != before
        again(out, WORDS)
        assert masks(out) == before

    def test_job_yaml_keeps_the_history(self, out):
        again(out, OTHERS)
        again(out, WORDS)
        history = yaml.safe_load((out / "job.yaml").read_text())["history"]
        names = [[c["name"] for c in entry["prompts"]["classes"]] for entry in history]
        assert names == [["background", "circle", "star", "square"], [*OTHERS.names]]

    def test_a_mask_whose_place_was_taken_is_made_by_the_next_run(self, images, out, tmp_path):
        again(out, OTHERS)
        (place := out / "masks" / "000.png").unlink()
        place.mkdir()
        assert list(again(out, WORDS).failures) == ["000.png"]
        place.rmdir()
        assert again(out, WORDS).done == 8
        words = PromptSet.load(out / "prompts.yaml")
        label(images, tmp_path / "anew", words)
        assert masks(out) == masks(tmp_path / "anew")

    def test_the_same_words_do_nothing(self, out):
        before = {p: p.stat().st_mtime_ns for p in (out / "masks").glob("*.png")}
        again(out, WORDS)
        assert before == {p: p.stat().st_mtime_ns for p in (out / "masks").glob("*.png")}
        assert "history" not in yaml.safe_load((out / "job.yaml").read_text())

    def test_labelling_the_folder_again_goes_on_with_the_new_words(self, images, out):
        again(out, OTHERS)
        after = masks(out)
        (out / "masks" / "003.png").unlink()
        assert label(images, out, PromptSet.load(out / "prompts.yaml")).resumed == 7
        assert masks(out) == after
        with pytest.raises(SettingsError, match="class left out: heart"):
            label(images, out, WORDS)


def files(out):
    return {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_a_job_file_that_could_not_be_read_is_refused_before_all_else(
    images, out, tmp_path, monkeypatch
):
    before = files(out)
    with monkeypatch.context() as patch:
        patch.setattr(safe_yaml, "MOST_BYTES", (out / "job.yaml").stat().st_size + 50)
        with pytest.raises(SettingsError, match="too large to be read"):
            again(out, OTHERS)
        assert files(out) == before
        many = PromptSet.from_names([f"class {number}" for number in range(50)])
        for place, overwrite in ((out, True), (tmp_path / "new", False)):
            with pytest.raises(SettingsError, match="too large to be read"):
                run(job_of((images,), place, many, overwrite=overwrite, scheduler="sync"))
        assert files(out) == before
        assert not list((tmp_path / "new").glob("*.yaml"))
    assert again(out, OTHERS).done == 8
    assert label(images, tmp_path / "new", WORDS).done == 8


class TestWhatStays:
    def test_checked_masks_stay_also_when_labelling_goes_on(self, images, out):
        reviews, (first, second, _, third, *_) = Reviews(out, WORDS), read_labelled(out)
        corrected = np.full(first.size, 3, np.uint8)
        reviews.save(first, "accepted", corrected)
        reviews.save(second, "rejected")
        unsaved_file(out, third).parent.mkdir()
        unsaved_file(out, third).write_bytes(b"begun")
        before, told = masks(out), (out / "reviews.jsonl").read_bytes()
        again(out, PromptSet.parse("background, heart, circle, star, square"))
        label(images, out, PromptSet.load(out / "prompts.yaml"))
        assert (out / "reviews.jsonl").read_bytes() == told
        changed = {name for name in before if masks(out)[name] != before[name]}
        assert changed
        assert changed.isdisjoint({"000.png", "001.png", "003.png"})

    def test_pixels_of_a_class_that_disappears_are_given_up_only_when_asked(self, out):
        reviews, (first, second, *_) = Reviews(out, WORDS), read_labelled(out)
        labels = np.zeros(first.size, np.uint8)
        labels[:10], labels[10:30] = 2, 3
        reviews.save(first, "accepted", labels)
        reviews.save(second, "accepted")
        before = masks(out)
        width = first.size[1]
        with pytest.raises(SettingsError, match=r"star in \d masks?, [\d,]+ pixels"):
            again(out, OTHERS)
        assert masks(out) == before
        assert plan(out, OTHERS).lost["star"][1] >= 10 * width
        again(out, OTHERS, give_up=True)
        words = PromptSet.load(out / "prompts.yaml")
        kept = read_mask(out / "masks" / "000.png", words.label_colors)
        assert (kept[:10] == 255).all()
        assert (kept[10:30] == 3).all()
        assert read_reviews(out)["000.png"].pixels[255] == 10 * width
        assert not any(record.pixels.get(2) for record in read_records(out))

    def test_images_that_are_not_where_they_were_keep_their_masks(self, images, tmp_path):
        moved = shutil.copytree(images, tmp_path / "images")
        out = tmp_path / "out"
        label(moved, out, WORDS)
        (moved / "002.png").rename(tmp_path / "elsewhere.png")
        summary = again(out, OTHERS)
        assert any("002.png" in note for note in summary.notes)
        assert not summary.failures
        words = PromptSet.load(out / "prompts.yaml")
        assert 2 not in read_mask(out / "masks" / "002.png", words.label_colors)

    def test_annotations_from_before_are_named(self, out):
        (out / "annotations.json").write_text("{}")
        notes = again(out, OTHERS).notes
        assert any("annotations.json" in note and "export" in note for note in notes)


class TestRefused:
    def test_a_folder_without_a_job(self, tmp_path):
        with pytest.raises(InputError, match="does not contain a job"):
            again(tmp_path, OTHERS)
        assert not any(tmp_path.iterdir())

    def test_other_weights(self, out):
        document = yaml.safe_load((out / "job.yaml").read_text())
        document["model"]["digest"] = "0" * 64
        (out / "job.yaml").write_text(yaml.safe_dump(document))
        before = masks(out)
        with pytest.raises(SettingsError, match="digest was 000"):
            again(out, OTHERS)
        assert masks(out) == before

    def test_a_damaged_job_file(self, out):
        (out / "job.yaml").write_text("model: 3\n")
        with pytest.raises(SettingsError, match="does not say how the images were labelled"):
            again(out, OTHERS)

    def test_damaged_records(self, out):
        """Images without a record would keep their labels, in a folder that says otherwise."""
        records, before = out / MERGED, (out / "job.yaml").read_bytes()
        whole = records.read_bytes()
        records.write_bytes(whole.replace(b'"status"', b'"sta', 1))
        with pytest.raises(InputError, match=r"1 damaged line in records.labels.jsonl.*mends"):
            plan(out, OTHERS)
        with pytest.raises(InputError, match="damaged"):
            again(out, OTHERS)
        assert (out / "job.yaml").read_bytes() == before
        # what a kill leaves, of an image that is labelled again
        records.write_bytes(whole)
        (records.parent / "killed.jsonl").write_bytes(whole[:40])
        assert len(plan(out, OTHERS).todo) == 8

    def test_a_folder_in_which_somebody_writes(self, out):
        from dinoiser.batch.folder import sole_writer

        with sole_writer(out, "label"), pytest.raises(OutputError, match=r"\(label, since"):
            again(out, OTHERS)


class TestFeatures:
    def test_they_are_measured_and_removed(self, out):
        images, size = measure_features(out)
        files = list((out / "features").glob("*.safetensors"))
        assert (images, size) == (8, sum(file.stat().st_size for file in files))
        (out / "features" / "mine.txt").write_text("not theirs")
        remove_features(out)
        assert [path.name for path in (out / "features").iterdir()] == ["mine.txt"]

    def test_damaged_ones_are_made_again(self, out, images, tmp_path):
        for path in (out / "features").glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:100])
        again(out, OTHERS)
        label(images, tmp_path / "anew", PromptSet.load(out / "prompts.yaml"))
        assert masks(out) == masks(tmp_path / "anew")

    def test_those_of_another_image_are_not_used(self, images, tmp_path):
        here, out = shutil.copytree(images, tmp_path / "images"), tmp_path / "out"
        label(here, out, WORDS)
        shutil.copy(here / "001.png", here / "000.png")
        again(out, OTHERS)
        found = masks(out)
        assert found["000.png"] == found["001.png"]

    def test_those_of_images_labelled_in_parts_are_kept_too(self, images, tmp_path, monkeypatch):
        monkeypatch.setattr("dinoiser.images.large_tiff.LARGE_PIXELS", 10_000)
        (tmp_path / "images").mkdir()
        with Image.open(images / "000.png") as image:
            pixels, tiles = np.asarray(image), {"tile": (64, 64), "photometric": "rgb"}
        tifffile.imwrite(tmp_path / "images" / "000.tif", pixels, **tiles)
        label(tmp_path / "images", tmp_path / "out", WORDS)
        assert measure_features(tmp_path / "out")[0] == 1
        assert plan(tmp_path / "out", OTHERS).with_features == 1
        assert label(tmp_path / "images", tmp_path / "out", WORDS).resumed == 1

    def test_keeping_them_later_labels_again(self, images, tmp_path):
        out = tmp_path / "out"
        label(images, out, WORDS, keep_features=False)
        assert label(images, out, WORDS).resumed == 0
        assert measure_features(out)[0] == 8
        assert label(images, out, WORDS).resumed == 8


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    draw(folder / "images", 40, (96, 128))
    label(folder / "images", folder / "out", WORDS)
    return folder / "out"


def killed_and_finished(many, tmp_path, moments):
    """Kill relabelling after each number of records, finish it, and compare."""
    undisturbed = shutil.copytree(many, tmp_path / "undisturbed")
    again(undisturbed, OTHERS)
    for moment in moments:
        out = shutil.copytree(many, tmp_path / f"out{moment}")
        words = ["-p", OTHERS.to_inline(), "--scheduler", "sync", "-d", "cpu"]
        kill_when([*PROGRAM, "relabel", str(out), *words], out, count_lines(out) + moment)
        again(out, OTHERS)
        assert masks(out) == masks(undisturbed)
        for name in ("job.yaml", "prompts.yaml", "classes.json"):
            assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
class TestKills:
    @pytest.mark.slow
    def test_the_same_command_finishes_what_was_killed(self, many, tmp_path):
        killed_and_finished(many, tmp_path, [0, 1, 5, 10, 20, 30, 39])
