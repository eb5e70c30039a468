import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor
from skimage.color import rgb2lab

from dinoiser.errors import PromptError
from dinoiser.prompts.palette import IGNORE_COLOR, default_color, normalize_color, palette

# Machado, Oliveira, Fernandes (2009), table 1, severity 1, for linear RGB
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def as_lab(colors: list[str], vision: str = "normal") -> np.ndarray:
    srgb = np.array([ImageColor.getrgb(color) for color in colors]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ VISIONS[vision].T, 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055))


def smallest_distance(lab: np.ndarray) -> float:
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab, 2))


@pytest.mark.parametrize("vision", VISIONS)
def test_the_first_dozen_black_and_ignore_differ_to_every_kind_of_eye(vision: str) -> None:
    colors = [default_color(class_id) for class_id in range(13)] + [IGNORE_COLOR]

    # a difference of 2.3 is just noticeable (Mahy et al. 1994): six times that
    assert smallest_distance(as_lab(colors, vision)) > 14


def test_all_256_colours_differ_clearly() -> None:
    lab = as_lab([default_color(label) for label in range(256)])

    distances = np.linalg.norm(lab[:, None] - lab, axis=-1) + np.eye(256) * 1000
    assert distances.min() > 10


def test_no_class_is_nearly_black() -> None:
    lab = as_lab([default_color(class_id) for class_id in range(1, 255)])

    assert lab[:, 0].min() > 20  # lightness; black is 0
    assert np.linalg.norm(lab, axis=-1).min() > 25


def test_the_background_is_black_and_ignored_pixels_have_the_colour_of_voc() -> None:
    table = palette({})

    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert table[0].tolist() == [0, 0, 0]
    assert table[255].tolist() == [224, 224, 192]


def test_the_palette_holds_given_colours_and_the_defaults_elsewhere() -> None:
    table = palette({0: "#010203", 7: "#ff8000"})

    assert table[0].tolist() == [1, 2, 3]
    assert table[7].tolist() == [255, 128, 0]
    assert tuple(table[200]) == ImageColor.getrgb(default_color(200))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("#0F8", "#00ff88"),
        ("#E6194B", "#e6194b"),
        ("tomato", "#ff6347"),
        (" Red ", "#ff0000"),
        ("RebeccaPurple", "#663399"),
    ],
)
def test_css_colours_become_six_hexadecimal_digits(written: str, meant: str) -> None:
    assert normalize_color(written) == meant


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_every_rgb_colour_is_kept_as_it_is(rgb: tuple[int, int, int]) -> None:
    color = "#{:02X}{:02X}{:02X}".format(*rgb)

    assert ImageColor.getrgb(normalize_color(color)) == rgb


@pytest.mark.parametrize("bad", ["", "#12", "#12345g", "#12345678", "rgb(1, 2, 3)", "12ff00"])
def test_other_colours_are_refused_with_what_to_write(bad: str) -> None:
    with pytest.raises(PromptError) as refusal:
        normalize_color(bad)

    assert repr(bad) in str(refusal.value)
    assert "#rrggbb" in str(refusal.value)


def test_a_mistyped_colour_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(PromptError, match="did you mean 'tomato'"):
        normalize_color("tomatoe")
