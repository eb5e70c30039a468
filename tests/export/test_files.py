"""Files that other programs read."""

import errno
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dinoiser import atomic
from dinoiser.atomic import (
    atomic_file,
    check_writable,
    remove_file,
    remove_folder,
    remove_partial_files,
    write_error,
)
from dinoiser.errors import InputError, OutputError, PlaceError
from dinoiser.export import (
    read_mask,
    write_classes,
    write_confidence,
    write_label_overlay,
    write_overlay,
    write_png,
)
from dinoiser.export.confidence import read_confidence
from dinoiser.export.overlay import build_overlay, outline, preview_size
from dinoiser.export.png import write_gray
from dinoiser.export.png_writer import PngStream, pixels_checksum, read_seal
from dinoiser.prompts import PromptSet
from tests.helpers.export_jobs import segmentation as make_segmentation
from tests.helpers.series import cases

PROMPTS = PromptSet.parse("background, dog, grass")


def segmentation(labels, confidence=None):
    return make_segmentation(labels, PROMPTS, confidence)


shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)


@cases(50)
@given(labels=hnp.arrays(np.uint8, shapes, elements=st.integers(0, 255)))
def test_pillow_reads_back_the_labels_and_the_colours(labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "mask.png"
    write_png(segmentation(labels), path)
    with Image.open(path) as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), labels)
        np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), PROMPTS.palette[labels])


@cases(50)
@given(labels=hnp.arrays(np.uint8, shapes, elements=st.integers(0, 255)))
def test_a_mask_is_read_back_as_it_was_written(labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "mask.png"
    write_png(segmentation(labels), path)
    read = read_mask(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels)


@cases(50)
@given(
    labels=hnp.arrays(st.sampled_from([np.uint8, np.uint16]), shapes, elements=st.integers(0, 255)),
    changed=st.integers(0, 1599),
)
def test_a_mask_tells_whether_another_program_has_changed_it(labels, changed, tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "mask.png"
    with path.open("wb") as file, PngStream(file, labels.shape, dtype=labels.dtype) as stream:
        for row in labels:
            stream.write(row[None])
    assert read_seal(path) == pixels_checksum(labels)
    write_gray(labels, path)
    assert read_seal(path) == pixels_checksum(labels)
    ours = path.read_bytes()
    labels.flat[changed % labels.size] ^= 1
    Image.fromarray(labels).save(path)
    assert read_seal(path) is None
    # an editor that keeps what it does not know, against the standard
    path.write_bytes(path.read_bytes()[:-12] + ours[ours.index(b"diNO") - 4 :])
    assert read_seal(path) is None


@pytest.mark.parametrize("data", [b"", b"IEND", bytes(35), bytes(36), bytes(100)])
def test_what_is_no_mask_has_no_seal(data, tmp_path):
    (tmp_path / "mask.png").write_bytes(data)
    assert read_seal(tmp_path / "mask.png") is None


def test_a_mask_whose_palette_an_editor_has_cut_short_keeps_its_ids(tmp_path):
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    mask = Image.fromarray(labels, "P")
    mask.putpalette(PROMPTS.palette[:3].tobytes())
    mask.save(tmp_path / "mask.png", bits=2)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), labels)


def test_what_is_no_mask_is_refused_by_name(tmp_path):
    path = tmp_path / "mask.png"
    with pytest.raises(InputError, match=r"no mask .*mask\.png"):
        read_mask(path)
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(InputError, match=r"mask\.png has Pillow mode 'RGB'"):
        read_mask(path)  # nobody says what its colours mean
    write_png(segmentation(np.random.default_rng(0).integers(0, 3, (64, 64), np.uint8)), path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"mask\.png cannot be read"):
        read_mask(path)
    path.write_bytes(b"no image at all")
    with pytest.raises(InputError, match=r"mask\.png cannot be read"):
        read_mask(path)


@cases(50)
@given(confidence=hnp.arrays(np.float16, shapes, elements=st.floats(0, 1, width=16)))
def test_confidence_is_grey_within_half_a_step(confidence, tmp_path_factory):
    path = tmp_path_factory.mktemp("confidence") / "a.png"
    write_confidence(segmentation(np.zeros(confidence.shape, np.uint8), confidence), path)
    with Image.open(path) as image:
        assert image.mode == "L"
        grey = np.asarray(image).astype(float)
    assert abs(grey - 255 * confidence.astype(float)).max() <= 0.5
    assert abs(read_confidence(path) - confidence.astype(float)).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "run the job again"), (b"no PNG", "cannot be read"), ("RGB", "grey")],
)
def test_what_is_no_confidence_is_refused_in_a_sentence(tmp_path, content, told):
    path = tmp_path / "a.png"
    if content == "RGB":
        Image.new("RGB", (4, 3)).save(path)
    elif content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_confidence(path)


def test_classes_say_what_ids_stand_for(tmp_path):
    prompts = PromptSet.from_yaml(
        "version: 1\nclasses:\n"
        "  - {name: background, background: true}\n"
        "  - {name: hund, id: 9, phrases: [dog, puppy], color: red}\n"
    )
    write_classes(prompts, tmp_path / "a" / "classes.json")
    assert json.loads((tmp_path / "a" / "classes.json").read_text()) == [
        {"id": 0, "name": "background", "color": "#000000", "phrases": ["background"]},
        {"id": 9, "name": "hund", "color": "#ff0000", "phrases": ["dog", "puppy"]},
    ]


def test_writers_come_without_torch():
    code = "import sys, dinoiser.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_overlay_from_a_mask_is_that_of_its_result(tmp_path):
    labels = np.random.default_rng(1).choice(np.array([0, 2, 255], np.uint8), (30, 50))
    image = np.random.default_rng(2).integers(0, 255, (30, 50, 3), np.uint8)
    write_overlay(image, segmentation(labels), tmp_path / "a.jpg")
    write_label_overlay(image, labels, PROMPTS, tmp_path / "b.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()


def test_an_overlay_shows_the_classes_colours_and_names_them_below(tmp_path):
    labels = np.zeros((200, 300), np.uint8)
    labels[:, 150:] = 2
    image = np.full((200, 300, 3), 128, np.uint8)
    write_overlay(image, segmentation(labels), tmp_path / "a" / "b.jpg")
    with Image.open(tmp_path / "a" / "b.jpg") as overlay:
        pixels = np.asarray(overlay.convert("RGB")).astype(int)
    assert overlay.format == "JPEG"
    color = PROMPTS.palette[2].astype(int)
    right, left = pixels[100, 225], pixels[100, 75]
    assert abs(right - color).sum() < abs(left - color).sum()
    assert abs(right - (0.45 * 128 + 0.55 * color)).max() < 6
    assert abs(pixels[100, 150] - color).max() < abs(right - color).max() / 2  # JPEG blurs edges
    legend = pixels[200:]
    assert len(legend) > 10
    assert (abs(legend - color).max(-1) < 12).sum() > 50  # the swatch of the class that is there
    absent = PROMPTS.palette[1].astype(int)
    assert (abs(legend - absent).max(-1) < 12).sum() == 0


def test_an_outline_is_within_its_label_and_closed():
    labels = np.zeros((9, 12), np.uint8)
    labels[1:8, 2:9] = 2
    labels[1:8, 9:11] = 255
    expected = labels != 0
    expected[3:6, 4:7] = False  # what lies more than two pixels from the first one's edges
    np.testing.assert_array_equal(outline(labels), expected)


def test_overlays_of_huge_images_are_small_and_of_tiny_ones_legible(tmp_path):
    for size in [(1, 1), (5000, 10), (10, 5000)]:
        labels = np.ones(size, np.uint8)
        write_overlay(np.zeros((*size, 3), np.uint8), segmentation(labels), tmp_path / "o.jpg")
        with Image.open(tmp_path / "o.jpg") as overlay:
            assert max(overlay.size) <= 1600 + 60


@pytest.mark.parametrize("number", [9, 300])  # labels of 8 and of 16 bits
def test_a_preview_is_the_image_shrunk_by_a_whole_number(number):
    prompts = PromptSet.from_yaml(
        f"version: 1\nclasses: [{{name: dog, id: {number}, color: '#c80000'}}]\n"
    )
    blocks = np.random.default_rng(1).integers(0, 255, (800, 1068, 3), np.uint8)
    image = blocks.repeat(2, 0).repeat(2, 1)[:-1, :-1]
    labels = np.full(image.shape[:2], number, prompts.label_type)
    labels[:, :1000] = 0
    height, width = preview_size(labels.shape)
    assert (height, width) == blocks.shape[:2]
    preview = np.asarray(build_overlay(image, labels, prompts))[:height]
    assert preview.shape == blocks.shape
    left, right = preview[:, :490], preview[:, 510:]
    assert np.abs(left - 0.65 * blocks[:, :490]).max() < 2
    assert np.abs(right - (0.45 * blocks[:, 510:] + 0.55 * prompts.palette[number])).max() < 2


@pytest.mark.parametrize("held", [2, 1000], ids=["for a moment", "for good"])
def test_a_file_that_another_program_holds_open_is_tried_again_on_windows(
    tmp_path, monkeypatch, held
):
    """Both the pauses and the refusals are what Windows would have and give."""
    path, refusals, original = tmp_path / "mask.png", [], Path.replace
    path.write_bytes(b"old")

    def replace_unless_held(self, target):
        if len(refusals) < held:
            refusals.append(target)
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace_unless_held)
    monkeypatch.setattr(atomic, "_OPEN_FILES_STAY", True)
    monkeypatch.setattr(atomic, "_PAUSES", (0.001,) * 20)
    said = r"Cannot write .*mask\.png: .*cannot access .*; close it in the program"
    # such as one image's mask in a viewer, so that a job goes on with the others
    expected = pytest.raises(PlaceError, match=said) if held > 20 else nullcontext()
    with expected, atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == (b"old" if held > 20 else b"new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("held", [2, 1000], ids=["for a moment", "for good"])
@pytest.mark.parametrize("remove", [remove_file, lambda path: remove_folder(path.parent)])
def test_what_another_program_holds_open_is_removed_once_it_is_closed(
    tmp_path, monkeypatch, remove, held
):
    path, refusals, original = tmp_path / "records" / "labels.jsonl", [], os.unlink
    path.parent.mkdir()
    path.write_bytes(b"old")

    def unlink_unless_held(path, **where):
        if len(refusals) < held:
            refusals.append(path)
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        original(path, **where)

    monkeypatch.setattr(os, "unlink", unlink_unless_held)
    monkeypatch.setattr(atomic, "_OPEN_FILES_STAY", True)
    monkeypatch.setattr(atomic, "_PAUSES", (0.001,) * 20)
    said = r"Cannot remove .*labels\.jsonl: .*cannot access .*; close it in the program"
    with pytest.raises(OutputError, match=said) if held > 20 else nullcontext():
        remove(path)
    assert path.exists() == (held > 20)


@pytest.mark.parametrize("length", [10, 250])
def test_a_path_that_is_too_long_for_windows_is_said_to_be(tmp_path, monkeypatch, length):
    """There, it is refused as if its folder were missing, as it is where a disk is gone."""
    monkeypatch.setattr(atomic, "_MISSING_IF_LONG", True)
    gone = FileNotFoundError(errno.ENOENT, "The system cannot find the path specified")
    error = write_error(tmp_path / ("n" * length), gone)
    assert isinstance(error, PlaceError) == (length > 200)
    assert ("its path is too long" in str(error)) == (length > 200)


@pytest.mark.skipif(os.name != "nt", reason="only Windows keeps files that are open in place")
def test_windows_says_which_file_is_open(tmp_path):
    (path := tmp_path / "labels.jsonl").write_bytes(b"old")
    with path.open("rb"), pytest.raises(OutputError, match=r"labels\.jsonl: .*; close it in the"):
        remove_file(path)
    with path.open("rb"), pytest.raises(PlaceError, match=r"labels\.jsonl: .*; close it in the"):
        write_classes(PromptSet.parse("sky"), path)
    assert path.read_bytes() == b"old"


def test_a_file_that_a_process_still_writes_is_no_remainder_of_a_killed_one(tmp_path, monkeypatch):
    (path := tmp_path / ".mask.png.0123abcd.part").write_bytes(b"half")

    def refuse(path, **where):
        raise PermissionError(errno.EACCES, "The process cannot access the file")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        remove_partial_files(tmp_path)
    assert path.exists()
    remove_partial_files(tmp_path)
    assert not path.exists()


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")

    def interrupted():
        with atomic_file(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Cannot write .*mask\.png"):
        write_png(segmentation(np.zeros((2, 2), np.uint8)), tmp_path / "file" / "mask.png")


def test_a_place_without_a_name_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"Cannot write \.: Is a directory"):
        write_png(segmentation(np.zeros((2, 2), np.uint8)), ".")


@pytest.mark.parametrize("below", ["", "/labels", f"/{'a' * 300}"])
def test_a_folder_whose_place_is_taken_is_refused_with_its_own_cure(tmp_path, below):
    (tmp_path / "notes").write_text("mine")
    folder = Path(f"{tmp_path}/notes{below}")
    with pytest.raises(OutputError, match="; give another output folder") as caught:
        check_writable(folder)
    assert str(folder) in str(caught.value)
    assert "image" not in str(caught.value)
    assert (tmp_path / "notes").read_text() == "mine"
