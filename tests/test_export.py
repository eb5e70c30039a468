"""Files that other programs read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dinoiser.errors import OutputError
from dinoiser.export import write_overlay, write_png
from dinoiser.atomic import atomic_file
from dinoiser.prompts import PromptSet
from dinoiser.segmentation import Segmentation

PROMPTS = PromptSet.parse("background, dog, grass")


def segmentation(labels, prompts=PROMPTS):
    confidence = np.full(labels.shape, 0.5, np.float16)
    return Segmentation(labels, confidence, prompts, lambda _: np.zeros(labels.shape, np.float32))


shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)


@settings(max_examples=50, deadline=None)
@given(labels=hnp.arrays(np.uint8, shapes, elements=st.integers(0, 255)))
def test_pillow_reads_back_the_labels_and_the_colours(labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "mask.png"
    write_png(segmentation(labels), path)
    with Image.open(path) as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), labels)
        np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), PROMPTS.palette[labels])


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
    legend = pixels[200:]
    assert len(legend) > 10
    assert (abs(legend - color).max(-1) < 12).sum() > 50  # the swatch of the class that is there
    absent = PROMPTS.palette[1].astype(int)
    assert (abs(legend - absent).max(-1) < 12).sum() == 0


def test_overlays_of_huge_pictures_are_small_and_of_tiny_ones_legible(tmp_path):
    for size in [(1, 1), (5000, 10), (10, 5000)]:
        labels = np.ones(size, np.uint8)
        write_overlay(np.zeros((*size, 3), np.uint8), segmentation(labels), tmp_path / "o.jpg")
        with Image.open(tmp_path / "o.jpg") as overlay:
            assert max(overlay.size) <= 1600 + 60


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
