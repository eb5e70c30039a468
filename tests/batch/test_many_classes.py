"""Prompt sets with class ids above 254: labels of 16 bits, everywhere that reads or writes them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch import export, read_records
from dinoiser.batch.relabel import plan, relabel
from dinoiser.batch.report.figures import JobFigures
from dinoiser.batch.report.page import write_report
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews
from dinoiser.errors import SettingsError
from dinoiser.evaluation.mask_files import open_labels
from dinoiser.export import read_mask
from dinoiser.export.png import write_mask
from dinoiser.prompts import PromptClass, PromptSet
from tests.helpers.command_line import dinoiser
from tests.helpers.taught_jobs import SYNC, draw, grey_values, label

FEW = PromptSet.from_names(["background", "circle", "star", "square"])
OFFSET = 1200
MANY = replace(
    FEW,
    classes=tuple(
        item if item.background else replace(item, id=item.id + OFFSET) for item in FEW.classes
    ),
)
"""The same words, with the ids of a vocabulary of 1,203 classes."""
IGNORED = 65535


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many") / "images"
    draw(folder, 2)
    return folder


@pytest.fixture(scope="module")
def labelled(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("labelled") / "out"
    label(images, out, MANY)
    return out


@pytest.fixture
def out(labelled, tmp_path):
    return shutil.copytree(labelled, tmp_path / "out")


def values(out):
    return grey_values(out, "I;16")


def test_labels_are_those_of_small_ids(images, labelled, tmp_path):
    label(images, tmp_path / "few", FEW)
    for stem, many in values(labelled).items():
        few = read_mask(tmp_path / "few" / "masks" / f"{stem}.png", FEW.label_colors)
        np.testing.assert_array_equal(many, np.where(few > 0, few + np.uint16(OFFSET), 0))
    assert any(many.any() for many in values(labelled).values())


def test_more_than_254_words_are_labelled_by_the_command(images, tmp_path):
    words = ["background", *(f"kind {n}" for n in range(300)), "circle", "star", "square"]
    arguments = ("label", images, "-m", "tiny", "-d", "cpu", "--limit", "1", "--refine", "none")
    prompts = ("-p", ", ".join(words), "-o", tmp_path / "out")
    code, _, said = dinoiser(*arguments, *prompts, "-f", "png,overlay,coco,panoptic,yolo")
    assert code == 0, said
    classes = json.loads((tmp_path / "out" / "annotations.json").read_text())["categories"]
    assert len(classes) == 303
    assert all(mask.max() <= 303 for mask in values(tmp_path / "out").values())


def test_corrections_are_kept_exported_and_evaluated(out):
    first = read_labelled(out)[0]
    labels = np.zeros(first.size, np.uint16)
    labels[:20], labels[20:30] = 1 + OFFSET, IGNORED
    Reviews(out, PromptSet.load(out / "prompts.yaml")).save(first, "accepted", labels)
    np.testing.assert_array_equal(values(out)[first.stem], labels)
    assert not export(out, ["coco", "gray", "labelstudio", "hf"])
    annotations = json.loads((out / "annotations.json").read_text())["annotations"]
    of_first = [one for one in annotations if one["category_id"] == 1 + OFFSET]
    assert labels.shape[1] * 20 in [one["area"] for one in of_first]
    with Image.open(out / "gray" / f"{first.stem}.png") as gray:
        np.testing.assert_array_equal(np.asarray(gray), labels)
    found = open_labels(out)
    mask = found.read(next(name for name in found.images if first.stem in name))
    assert (mask[:20] == 1 + OFFSET).all()
    assert (mask[20:30] < 0).all()  # ignored
    write_report(out)
    assert "circle" in (out / "report.html").read_text()


@pytest.mark.parametrize("name", ["voc", "cvat"])
def test_formats_without_room_say_so_before_work_begins(images, out, tmp_path, name):
    expected = f"format '{name}' holds class ids up to 254, but there is id {OFFSET + 3}"
    with pytest.raises(SettingsError, match=expected):
        export(out, [name])
    assert not (out / name).exists()


def test_grey_by_wish_or_by_need_is_the_same(images, labelled, tmp_path):
    label(images, tmp_path / "out", replace(MANY, masks="gray"))
    for path in (labelled / "masks").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "out" / "masks" / path.name).read_bytes()


LAST = replace(FEW, classes=(*FEW.classes, PromptClass("last", 255, ("last",), "#123456", False)))
"""Its class 255 has the label that ignored pixels have in 8 bits."""


@pytest.fixture
def few(images, tmp_path):
    """A job of small ids, a mask of which is accepted with 20 rows that are ignored."""
    out = tmp_path / "few"
    label(images, out, FEW)
    first = read_labelled(out)[0]
    labels = np.zeros(first.size, np.uint8)
    labels[:10], labels[10:30] = 1, 255
    Reviews(out, FEW).save(first, "accepted", labels)
    return out


def figures(out):
    found, reviews = JobFigures(PromptSet.load(out / "prompts.yaml").ignore), read_reviews(out)
    for record in read_records(out):
        found.add(record, reviews.get(record.image))
    return found


def test_pixels_ignored_in_8_bits_are_not_those_of_a_class_255(few):
    relabel(few, LAST, running=SYNC)
    before = figures(few)
    assert before.mask_pixels[IGNORED] >= 20 * 224
    assert before.mask_images[255] < 2  # of the other image, if any
    assert not plan(few, FEW).lost
    relabel(few, FEW, running=SYNC)
    assert figures(few).mask_pixels.keys() == {0, 1, 2, 3, 255}


def test_the_page_lists_ignored_pixels_once(few):
    relabel(
        few,
        replace(FEW, classes=(*FEW.classes, PromptClass("far", 300, ("far",), "#123456", False))),
        running=SYNC,
    )
    write_report(few)
    assert "class 255" not in (few / "report.html").read_text()


def test_a_summary_counts_what_was_ignored_in_8_bits(images, tmp_path):
    out = tmp_path / "out"
    label(images, out, replace(FEW, ignore_below=0.99))
    Reviews(out, FEW).save(read_labelled(out)[0], "accepted")
    ignored = read_records(out)
    kept = next(iter(ignored)).pixels[255]
    assert kept > 0
    summary = relabel(out, replace(LAST, ignore_below=0.0), running=SYNC)
    assert summary.pixels[IGNORED] == kept
    assert summary.mean_confidence(IGNORED) is None


def test_a_painted_class_255_is_not_taken_for_ignored_pixels(few):
    relabel(few, LAST, running=SYNC)
    first = read_labelled(few)[0]
    labels = np.full(first.size, 255, np.uint16)
    Reviews(few, PromptSet.load(few / "prompts.yaml")).save(first, "accepted", labels)
    assert plan(few, FEW).lost["last"] == (1, labels.size)


def test_masks_of_8_bits_keep_classes_of_one_colour(images, tmp_path):
    """The palette tells such classes by index, where colours do not."""
    alike = replace(
        FEW, classes=tuple(replace(c, color="#123456") if c.id > 1 else c for c in FEW.classes)
    )
    labels = np.tile(np.array([0, 1, 2, 3, 255], np.uint8), (5, 1))
    write_mask(labels, alike, tmp_path / "mask.png")
    wide = replace(alike, classes=(*alike.classes, LAST.classes[-1]))
    found = read_mask(tmp_path / "mask.png", wide.mask_colors)
    np.testing.assert_array_equal(found, np.where(labels == 255, np.uint16(IGNORED), labels))
