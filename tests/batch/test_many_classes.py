"""Prompt sets with class ids above 254: labels of 16 bits, everywhere that reads or writes them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch import export
from dinoiser.batch.report.page import write_report
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.errors import SettingsError
from dinoiser.evaluation.mask_files import open_labels
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from tests.helpers.command_line import dinoiser
from tests.helpers.taught_jobs import draw, grey_values, label

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
