"""Masks that people edited in their place, with an image editor: nothing writes over them."""

import shutil

import imagecodecs
import numpy as np
import pytest
import yaml
from dinoiser_training.reviewed import read_reviewed
from dinoiser_training.settings import FitSettings
from PIL import Image

from dinoiser.batch import LabelJob, Labelling, Results, Running, SegmentSettings, export, run
from dinoiser.batch.improve import learn_from_reviews
from dinoiser.batch.relabel import plan, relabel
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews
from dinoiser.bridges.imports import import_annotations
from dinoiser.errors import SettingsError
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from tests.helpers.taught_jobs import PROMPTS, SYNC, accept, draw, label, masks

WORDS = PromptSet.parse("background, circle, star, square")
WORDS_AND_ONE = PromptSet.parse("background, circle, star, square, heart")
OTHERS = PromptSet.parse("background, heart, circle; disc, square")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edits") / "images"
    draw(folder, 4)
    return folder


@pytest.fixture
def images(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "images")


@pytest.fixture
def out(images, tmp_path):
    label(images, tmp_path / "out", WORDS)
    return tmp_path / "out"


def painted(path):
    """A mask with a square of the class 3 in it."""
    labels = read_mask(path).copy()
    labels[10:60, 10:60] = 3
    return labels


def save_indexed(labels, path):
    with Image.open(path) as before:
        mask = Image.fromarray(labels, "L")
        mask.putpalette(before.getpalette())
    mask.save(path)


def save_colors(labels, path):
    colors = np.zeros((256, 3), np.uint8)
    for number, color in WORDS.label_colors.items():
        colors[number] = list(bytes.fromhex(color[1:]))
    path.write_bytes(imagecodecs.png_encode(colors[labels]))


def save_grey(labels, path):
    path.write_bytes(imagecodecs.png_encode(labels))


def run_again(images, out, **running):
    labelling = Labelling(WORDS, "tiny", "fp32", settings=SegmentSettings(refine="none"))
    results = Results(("png",), report=False, keep_features=True)
    where = Running(device="cpu", scheduler="sync", **running)
    return run(LabelJob((images,), out, labelling, results, where))


class TestOtherWords:
    @pytest.mark.parametrize("change", [np.fliplr, lambda labels: np.roll(labels, 8, 1)])
    def test_moved_objects_are_edits_as_well(self, out, change):
        edited = out / "masks" / "001.png"
        save_indexed(np.ascontiguousarray(change(read_mask(edited))), edited)
        left = edited.read_bytes()
        relabel(out, WORDS_AND_ONE, running=SYNC)
        assert edited.read_bytes() == left
        assert list(read_reviews(out)) == ["001.png"]

    @pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF"])
    def test_another_format_under_the_name_is_kept(self, out, kind):
        edited = out / "masks" / "001.png"
        Image.fromarray(painted(edited)).save(edited, kind)
        left = edited.read_bytes()
        relabel(out, WORDS_AND_ONE, running=SYNC)
        assert edited.read_bytes() == left

    @pytest.mark.parametrize("save", [save_indexed, save_colors, save_grey])
    def test_an_edited_mask_stays_and_counts_as_corrected(self, out, save):
        edited = out / "masks" / "001.png"
        expected = painted(edited)
        save(expected, edited)
        assert (plan(out, OTHERS).kept, len(plan(out, OTHERS).todo)) == (1, 3)
        summary = relabel(out, OTHERS, running=SYNC, give_up=True)
        # only pixels of the word that is gone, the star, are not as they were painted
        expected[expected == WORDS.by_name("star").id] = 255
        np.testing.assert_array_equal(
            read_mask(edited, PromptSet.load(out / "prompts.yaml").mask_colors), expected
        )
        review = read_reviews(out)["001.png"]
        assert (review.state, review.edited) == ("accepted", True)
        assert summary.notes[0] == (
            "1 mask was edited with another program, and kept as corrected: 001.png"
        )

    def test_what_other_words_would_cost_it_is_asked(self, out):
        edited = out / "masks" / "001.png"
        labels = painted(edited)
        labels[60:70, 60:70] = WORDS.by_name("star").id
        save_indexed(labels, edited)
        assert "star" in plan(out, OTHERS).lost
        with pytest.raises(SettingsError, match="checked masks have classes"):
            relabel(out, OTHERS, running=SYNC)

    def test_a_mask_that_was_only_saved_again_is_labelled_anew(self, images, out, tmp_path):
        for path in (out / "masks").iterdir():
            save_indexed(read_mask(path), path)
        summary = relabel(out, OTHERS, running=SYNC)
        assert not read_reviews(out)
        assert not summary.notes
        label(images, tmp_path / "anew", PromptSet.load(out / "prompts.yaml"))
        assert masks(out) == masks(tmp_path / "anew")

    def test_masks_whose_records_were_lost_in_a_kill_are_no_edits(self, out):
        before = shutil.copytree(out / "records", out.parent / "before")
        relabel(out, OTHERS, running=SYNC)
        done = masks(out)
        # killed after the masks were written, before their records were
        shutil.rmtree(out / "records")
        before.rename(out / "records")
        summary = relabel(out, OTHERS, running=SYNC)
        assert not read_reviews(out)
        assert not summary.notes
        assert masks(out) == done

    def test_what_is_edited_again_is_counted_again(self, out):
        edited = out / "masks" / "001.png"
        save_indexed(painted(edited), edited)
        relabel(out, WORDS_AND_ONE, running=SYNC)
        labels = read_mask(edited).copy()
        labels[100:120, 100:120] = WORDS.by_name("star").id
        save_indexed(labels, edited)
        without = PromptSet.parse("background, circle, square, heart")
        lost = plan(out, without).lost
        assert lost["star"] == (1, np.count_nonzero(labels == WORDS.by_name("star").id))
        relabel(out, without, running=SYNC, give_up=True)
        assert "001.png" not in export(out, ["coco"])
        notes = relabel(out, WORDS, running=SYNC).notes
        assert not any("edited with another program" in note for note in notes)

    def test_a_rejected_image_stays_rejected(self, out):
        edited = read_labelled(out)[1]
        Reviews(out, WORDS).save(edited, "rejected")
        save_indexed(painted(out / "masks" / "001.png"), out / "masks" / "001.png")
        relabel(out, OTHERS, running=SYNC, give_up=True)
        review = read_reviews(out)["001.png"]
        assert (review.state, review.edited) == ("rejected", True)

    def test_colours_of_no_class_are_kept_and_named_by_exporting(self, out):
        edited = out / "masks" / "001.png"
        Image.new("RGB", (224, 224), "#123456").save(edited)
        left = edited.read_bytes()
        relabel(out, OTHERS, running=SYNC)
        assert edited.read_bytes() == left
        failures = export(out, ["coco"])
        assert "has the colour #123456" in failures["001.png"]

    def test_a_damaged_mask_is_labelled_anew(self, out):
        damaged = out / "masks" / "001.png"
        damaged.write_bytes(damaged.read_bytes()[:100])
        relabel(out, OTHERS, running=SYNC)
        assert read_mask(damaged).shape == (224, 224)


class TestLabelAgain:
    def test_an_edit_whose_record_is_lost_is_kept(self, images, out):
        edited = out / "masks" / "001.png"
        save_indexed(painted(edited), edited)
        left = edited.read_bytes()
        for path in (out / "records").iterdir():
            path.write_text("")
        with pytest.raises(SettingsError, match="1 of them with corrected"):
            run_again(images, out, overwrite=True)
        summary = run_again(images, out)
        assert summary.done == 4
        assert edited.read_bytes() == left
        assert read_reviews(out)["001.png"].edited

    def test_an_edit_of_an_image_that_failed_is_kept(self, images, out):
        whole = (images / "001.png").read_bytes()
        (images / "001.png").write_bytes(whole[:100])
        assert "001.png" in run_again(images, out).failures
        edited = out / "masks" / "001.png"
        save_indexed(painted(edited), edited)
        left = edited.read_bytes()
        (images / "001.png").write_bytes(whole)
        assert run_again(images, out, retry_failed=True).done == 4
        assert edited.read_bytes() == left

    def test_starting_anew_is_refused(self, images, out):
        save_indexed(painted(out / "masks" / "001.png"), out / "masks" / "001.png")
        left = masks(out)
        with pytest.raises(SettingsError, match="reviews of 1 image, 1 of them with corrected"):
            run_again(images, out, overwrite=True)
        assert masks(out) == left
        run_again(images, out, overwrite=True, discard_reviews=True)
        assert masks(out) != left

    def test_the_mask_of_an_image_that_was_replaced_stays_and_is_named(self, images, out):
        edited = out / "masks" / "001.png"
        save_indexed(painted(edited), edited)
        left = edited.read_bytes()
        shutil.copy(images / "000.png", images / "001.png")
        summary = run_again(images, out)
        assert edited.read_bytes() == left
        assert any("edited with another program" in note for note in summary.notes)
        assert any("1 image replaced since" in note for note in summary.notes)
        assert read_reviews(out)["001.png"].edited

    def test_pruning_leaves_it(self, images, out):
        edited = out / "masks" / "001.png"
        save_indexed(painted(edited), edited)
        (images / "001.png").unlink()
        (images / "002.png").unlink()
        run_again(images, out, prune=True)
        assert edited.is_file()
        assert not (out / "masks" / "002.png").exists()
        run_again(images, out, prune=True, discard_reviews=True)
        assert not edited.exists()


class TestAnotherSize:
    @pytest.fixture
    def shrunk(self, out):
        """A mask that an image editor has saved at half the image's size."""
        path = out / "masks" / "001.png"
        with Image.open(path) as mask:
            half = mask.resize((112, 112), Image.Resampling.NEAREST)
        half.save(path)
        return path

    @pytest.fixture
    def said(self, shrunk):
        sizes = "has 112x112 pixels but its image has 224x224"
        cures = "save it at the image's size, or remove it and label the image again"
        return f"the mask {shrunk.resolve()} {sizes}; {cures}"

    def test_learning_passes_it_over_and_says_what_to_do(self, out, said):
        assert learn_from_reviews(out, running=SYNC).passed_over == {"001.png": said}

    def test_importing_says_what_to_do(self, out, shrunk, said, tmp_path):
        shutil.copytree(out / "masks", tmp_path / "annotations")
        Image.new("L", (224, 224)).save(tmp_path / "annotations" / "001.png")
        imported = import_annotations(out, [tmp_path / "annotations"], dry_run=True)
        assert imported.failures == {"001.png": said}

    def test_saved_at_the_images_size_it_teaches(self, out, shrunk):
        with Image.open(shrunk) as mask:
            whole = mask.resize((224, 224), Image.Resampling.NEAREST)
        whole.save(shrunk)
        lesson = learn_from_reviews(out, running=SYNC)
        assert (lesson.learned.images, lesson.passed_over) == (1, {})


def test_edits_teach_like_corrections(tmp_path):
    truth = draw(tmp_path / "images", 12)
    for name in ("reviewed", "edited"):
        label(tmp_path / "images", tmp_path / name)
    accept(tmp_path / "reviewed", truth, 8)
    for stem in sorted(truth)[:8]:
        save_indexed(truth[stem], tmp_path / "edited" / "masks" / f"{stem}.png")
    by_reviews = learn_from_reviews(tmp_path / "reviewed", running=SYNC).learned
    by_edits = learn_from_reviews(tmp_path / "edited", running=SYNC).learned
    assert by_edits.identity == by_reviews.identity
    assert not (tmp_path / "edited" / "reviews.jsonl").exists()
    relabel(tmp_path / "edited", PROMPTS, learned=by_edits, running=SYNC)
    for stem in sorted(truth)[:8]:
        mask = read_mask(tmp_path / "edited" / "masks" / f"{stem}.png", PROMPTS.mask_colors)
        np.testing.assert_array_equal(mask, truth[stem])


def test_importing_the_masks_where_they_are_takes_edits_in(out):
    edited = out / "masks" / "001.png"
    save_indexed(painted(edited), edited)
    import_annotations(out, [out / "masks"], dry_run=True)
    assert not read_reviews(out)
    imported = import_annotations(out, [out / "masks"])
    assert list(read_reviews(out)) == ["001.png"]
    assert imported.notes == [
        "1 mask was edited with another program, and kept as corrected: 001.png"
    ]


def test_an_import_says_which_edits_it_replaces_and_keeps_the_others(out, tmp_path):
    annotations = shutil.copytree(out / "masks", tmp_path / "annotations")
    for name in ("001.png", "002.png"):
        save_indexed(painted(out / "masks" / name), out / "masks" / name)
    shutil.copy(out / "masks" / "002.png", annotations / "002.png")
    for dry_run in (True, False):
        imported = import_annotations(out, [annotations], dry_run=dry_run)
        [change] = [change for change in imported.changes if change.pixels]
        assert (change.image, change.replaces) == ("001.png", True)
    assert imported.notes == [
        "1 mask was edited with another program, and kept as corrected: 002.png"
    ]
    assert read_reviews(out).keys() == {"001.png", "002.png"}


def test_edits_teach_heads(tmp_path):
    truth = draw(tmp_path / "images", 6)
    label(tmp_path / "images", tmp_path / "out")
    for stem, labels in truth.items():
        save_indexed(labels, tmp_path / "out" / "masks" / f"{stem}.png")
    data = read_reviewed(tmp_path / "out", FitSettings(crop=64))
    assert len(data.training) + len(data.held_out) == 6


def test_16_bit_masks_that_were_saved_again_are_no_edits(tmp_path):
    draw(tmp_path / "images", 2)
    ids = [{"name": f"thing {i}", "id": i} for i in range(1, 255)]
    ids += [{"name": "circle", "id": 255}, {"name": "star", "id": 256}]
    classes = [{"name": "background", "background": True}, *ids]
    document = {"version": 1, "classes": classes, "templates": ["{}"]}
    words = PromptSet.from_yaml(yaml.safe_dump(document))
    out = tmp_path / "out"
    label(tmp_path / "images", out, words)
    for path in (out / "masks").iterdir():
        path.write_bytes(imagecodecs.png_encode(read_mask(path)))
    relabel(out, words_without(words, "thing 9"), running=SYNC)
    assert not read_reviews(out)
    edited = out / "masks" / "001.png"
    labels = read_mask(edited).copy()
    labels[:50] = 255
    edited.write_bytes(imagecodecs.png_encode(labels))
    without = words_without(words, "circle")
    assert plan(out, without).lost["circle"][1] >= 50 * 224
    relabel(out, without, running=SYNC, give_up=True)
    assert not (read_mask(edited) == 255).any()


def words_without(words, name):
    document = yaml.safe_load(words.to_yaml())
    document["classes"] = [entry for entry in document["classes"] if entry["name"] != name]
    return PromptSet.from_yaml(yaml.safe_dump(document))


class TestRemoved:
    """A corrected mask that somebody deleted to have the model's again is the model's again."""

    @pytest.mark.parametrize("state", ["accepted", "rejected"])
    def test_the_models_own_counts_as_nobodys(self, out, images, state):
        before = masks(out)
        reviews = Reviews(out, WORDS)
        first, second, *_ = read_labelled(out)
        for labelled in (first, second):
            path = out / "masks" / f"{labelled.stem}.png"
            reviews.save(labelled, state, painted(path))
        corrected = masks(out)
        (out / "masks" / f"{first.stem}.png").unlink()
        summary = label(images, out, WORDS)
        [note] = [note for note in summary.notes if "gone" in note]
        assert note.startswith("1 corrected mask is gone")
        assert first.image in note
        found = read_reviews(out)
        left = "rejected" if state == "rejected" else "unchecked"
        assert (found[first.image].state, found[first.image].edited) == (left, False)
        assert (found[second.image].state, found[second.image].edited) == (state, True)
        assert masks(out) == {**corrected, f"{first.stem}.png": before[f"{first.stem}.png"]}
        assert not any("gone" in note for note in label(images, out, WORDS).notes)


def test_summaries_count_masks_as_people_have_corrected_them(out, images):
    confidence = {i: label(images, out, WORDS).mean_confidence(i) for i in range(4)}
    for labelled in read_labelled(out):
        Reviews(out, WORDS).save(labelled, "accepted", np.full(labelled.size, 3, np.uint8))
    for summary in (label(images, out, WORDS), relabel(out, OTHERS, running=SYNC)):
        assert summary.share(3) == 1
        assert {i: summary.mean_confidence(i) for i in range(4)} == confidence
