"""Masks as other programs save them: never another class without a word."""

import numpy as np
import pytest
from PIL import Image

from dinoiser.errors import InputError
from dinoiser.export import read_mask, write_png
from dinoiser.prompts import PromptSet
from tests.helpers.export_jobs import PROMPTS, scene, segmentation

COLORS = PROMPTS.label_colors


def by_use(mask):
    """Number the palette anew, as some editors do: the most used colour first."""
    labels = np.asarray(mask)
    order = np.argsort(-np.bincount(labels.ravel(), minlength=256), kind="stable")
    saved = Image.fromarray(np.argsort(order).astype(np.uint8)[labels])
    saved.putpalette(PROMPTS.palette[order].tobytes())
    return saved


def in_grey(mask):
    return Image.fromarray(np.asarray(mask))


def grey_ramp(mask):
    """Indexed, with the grey value of each index as its colour."""
    saved = in_grey(mask)
    saved.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    return saved


WAYS = {
    "the same": lambda mask: mask,
    "RGB": lambda mask: mask.convert("RGB"),
    "RGBA": lambda mask: mask.convert("RGBA"),
    "grey": in_grey,
    "grey in RGB": lambda mask: in_grey(mask).convert("RGB"),
    "grey in 16 bits": lambda mask: Image.fromarray(np.asarray(mask).astype(np.uint16)),
    "grey ramp": grey_ramp,
    "quantized": lambda mask: mask.convert("RGB").quantize(256),
    "by use": by_use,
}


@pytest.fixture
def path(tmp_path):
    write_png(segmentation(scene()), tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.mark.parametrize("way", WAYS)
def test_labels_are_the_same_however_a_mask_is_saved(path, way):
    with Image.open(path) as mask:
        saved = WAYS[way](mask)
        saved.save(path)
    np.testing.assert_array_equal(read_mask(path, COLORS), scene())


def recolour(path, color):
    with Image.open(path) as mask:
        pixels = np.array(mask.convert("RGB"))
    pixels[20, 30] = color
    Image.fromarray(pixels).save(path)


def make_transparent(path):
    with Image.open(path) as mask:
        pixels = np.array(mask.convert("RGBA"))
    pixels[20, 30, 3] = 0
    Image.fromarray(pixels).save(path)


def shift_palette(path):
    with Image.open(path) as mask:
        mask.putpalette(np.roll(PROMPTS.palette, 20, axis=0).tobytes())
        mask.save(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: recolour(path, (230, 25, 76)), "has the colour #e6194c, expected"),
        (make_transparent, "has transparent pixels"),
        (shift_palette, "has the colour #"),
        (lambda path: Image.new("L", (9, 9), 2).save(path), "#020202, expected .* or their ids"),
        (lambda path: Image.fromarray(np.full((9, 9), 300, np.uint16)).save(path), "value 300"),
        (lambda path: Image.new("1", (9, 9)).save(path), "one bit"),
    ],
    ids=["a hue off", "erased", "other palette", "no id", "16 bits", "black and white"],
)
def test_a_mask_whose_classes_cannot_be_told_is_refused(path, spoil, said):
    spoil(path)
    with pytest.raises(InputError, match=said) as error:
        read_mask(path, COLORS)
    assert str(path) in str(error.value)


def test_two_meanings_are_refused_rather_than_one_chosen(tmp_path):
    text = """
    version: 1
    classes: [{name: dark, id: 1, color: "#020202"}, {name: black, id: 2, color: "#010101"}]
    """
    prompts, path = PromptSet.from_yaml(text), tmp_path / "mask.png"
    labels = np.array([[1, 2]], np.uint8)
    write_png(segmentation(labels, prompts), path)
    np.testing.assert_array_equal(read_mask(path, prompts.label_colors), labels)
    Image.fromarray(labels).save(path)
    with pytest.raises(InputError, match="both by colour and by grey value"):
        read_mask(path, prompts.label_colors)
