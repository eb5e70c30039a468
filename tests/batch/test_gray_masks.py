"""A job whose masks are grey PNGs: everything that reads or writes masks works with them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from skimage.io import imread

from dinoiser.batch import export, read_records
from dinoiser.batch.relabel import relabel
from dinoiser.batch.report.page import write_report
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.bridges.imports import import_annotations
from dinoiser.errors import PromptError, SettingsError
from dinoiser.evaluation.mask_files import open_labels
from dinoiser.export import read_mask
from dinoiser.prompts import PromptClass, PromptSet
from tests.helpers.command_line import dinoiser
from tests.helpers.taught_jobs import SYNC, draw, grey_values, label

# white is the grey value of ignored pixels
WORDS = PromptSet.from_yaml(
    """
    version: 1
    classes:
      - {name: background, background: true}
      - {name: circle, color: "#ffffff"}
      - {name: star}
      - {name: square}
    """
)
GRAY = replace(WORDS, masks="gray")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gray") / "images"
    draw(folder, 3)
    return folder


@pytest.fixture(scope="module")
def indexed(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("indexed") / "out"
    label(images, out, WORDS)
    return out


@pytest.fixture(scope="module")
def labelled(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("labelled") / "out"
    label(images, out, GRAY)
    return out


@pytest.fixture
def out(labelled, tmp_path):
    return shutil.copytree(labelled, tmp_path / "out")


def values(out):
    return grey_values(out, "L")


def corrected(out):
    """Correct the first mask: white pixels of a class beside ignored ones."""
    first = read_labelled(out)[0]
    labels = np.zeros(first.size, np.uint8)
    labels[:20], labels[20:30] = 1, 255
    Reviews(out, PromptSet.load(out / "prompts.yaml")).save(first, "accepted", labels)
    return first.stem, labels


def test_the_values_are_the_labels_of_indexed_masks(indexed, labelled):
    found = values(labelled)
    for path in (indexed / "masks").glob("*.png"):
        np.testing.assert_array_equal(found[path.stem], read_mask(path, WORDS.label_colors))
    assert any(labels.any() for labels in found.values())


def test_the_job_records_it_and_goes_on_in_no_other_way(images, out):
    assert yaml.safe_load((out / "job.yaml").read_text())["prompts"]["masks"] == "gray"
    assert label(images, out, GRAY).resumed == 3
    with pytest.raises(SettingsError, match="masks was gray, now not set"):
        label(images, out, WORDS)


def test_corrections_are_grey_and_read_back(out):
    stem, labels = corrected(out)
    np.testing.assert_array_equal(values(out)[stem], labels)
    write_report(out)
    assert (out / "report.html").read_text().count("data:image/jpeg") >= 3


def test_exports_are_those_of_indexed_masks(indexed, out, tmp_path):
    other = shutil.copytree(indexed, tmp_path / "indexed")
    names = {"coco": "annotations.json", "voc": "voc/SegmentationClass/000.png"}
    names |= {"gray": "gray/000.png", "cvat": "cvat.zip", "labelstudio": "labelstudio.json"}
    for folder in (out, other):
        corrected(folder)
        assert not export(folder, list(names))
    for name in names.values():
        assert (out / name).read_bytes() == (other / name).read_bytes()


def test_an_import_changes_grey_masks(indexed, out, tmp_path):
    other = shutil.copytree(indexed, tmp_path / "indexed")
    stem, labels = corrected(other)
    export(other, ["cvat"])
    imported = import_annotations(out, [other / "cvat.zip"])
    assert [change.image for change in imported.changes if change.pixels] == [f"{stem}.png"]
    np.testing.assert_array_equal(values(out)[stem], np.where(labels == 255, 0, labels))


def test_other_words_keep_grey_masks_and_corrections(out):
    stem, labels = corrected(out)
    words = PromptSet.parse("background, star, heart")
    relabel(out, words, running=SYNC, give_up=True)
    found = values(out)
    np.testing.assert_array_equal(found[stem], np.where(labels == 1, 255, labels))
    assert PromptSet.load(out / "prompts.yaml").masks == "gray"


def test_evaluation_reads_them(indexed, labelled):
    gray, other = open_labels(labelled), open_labels(indexed)
    for name in gray.images:
        np.testing.assert_array_equal(gray.read(name), other.read(name))


def test_the_command_and_the_prompt_file_say_how(images, tmp_path):
    GRAY.save(tmp_path / "words.yaml")
    label_it = ("label", images, "-m", "tiny", "-d", "cpu", "--limit", "1", "--refine", "none")
    words = ("-p", "background, circle")
    assert dinoiser(*label_it, *words, "--masks", "gray", "-o", tmp_path / "a")[0] == 0
    assert dinoiser(*label_it, "--prompts", tmp_path / "words.yaml", "-o", tmp_path / "b")[0] == 0
    assert len(values(tmp_path / "a")) == len(values(tmp_path / "b")) == 1
    code, _, said = dinoiser(*label_it, *words, "--masks", "grey", "-o", tmp_path / "c")
    assert code == 2
    assert "masks is 'grey': write indexed or gray" in said
    assert not (tmp_path / "c").exists()


def test_a_wrong_form_in_a_prompt_file_is_named_with_its_line():
    with pytest.raises(PromptError, match="line 3: masks is 'rgb': write indexed or gray"):
        PromptSet.from_yaml("version: 1\nclasses: [{name: dog}]\nmasks: rgb\n")


MANY = [f"kind {n}" for n in range(260)]


def one_sentence(*names):
    """The classes, each in one sentence in place of 80."""
    return replace(PromptSet.from_names(names), templates=("{}",))


FAR = PromptClass("far", 300, ("far",), "#123456", background=False)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(one_sentence(*WORDS.names, *MANY), id="with a class 255"),
        pytest.param(replace(WORDS, classes=(*WORDS.classes, FAR)), id="without"),
    ],
)
def test_corrections_stay_where_other_words_need_16_bits(out, words):
    """In 8 bits, 255 is the grey value of ignored pixels."""
    stem, labels = corrected(out)
    relabel(out, words, running=SYNC)
    assert not export(out, ["gray", "coco"])
    expected = np.where(labels == 255, np.uint16(65535), labels)
    np.testing.assert_array_equal(imread(out / "gray" / f"{stem}.png"), expected)


def test_classes_given_up_are_ignored_in_16_bits(out):
    stem, labels = corrected(out)
    unedited = read_labelled(out)[1]
    Reviews(out, PromptSet.load(out / "prompts.yaml")).save(unedited, "accepted")
    words = one_sentence("background", "square", *MANY)
    relabel(out, words, running=SYNC, give_up=True)
    export(out, ["gray"])
    expected = np.where(labels > 0, np.uint16(65535), np.uint16(0))
    np.testing.assert_array_equal(imread(out / "gray" / f"{stem}.png"), expected)
    mask = imread(out / "gray" / f"{unedited.stem}.png")
    record = next(one for one in read_records(out) if one.stem == unedited.stem)
    assert record.pixels[65535] == (mask == 65535).sum() > 0
    assert 255 not in record.pixels
