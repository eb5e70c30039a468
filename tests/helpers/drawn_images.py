"""Images whose colours are known, and what reading them must give."""

import numpy as np
import pytest
from PIL import Image

from dinoiser.errors import ImageError
from dinoiser.images import read_image
from dinoiser.scenes import draw_scene

RED, GREEN, BLUE, GREY = (200, 30, 40), (20, 180, 60), (30, 50, 210), (120, 120, 120)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def four_squares(height=40, width=64):
    """Red above blue at the left, green above grey at the right: no symmetry."""
    image = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    image[:top, :left], image[:top, left:] = RED, GREEN
    image[top:, :left], image[top:, left:] = BLUE, GREY
    return image


def random_squares(height, width):
    """Squares of 40 pixels, each of a random colour."""
    coarse = np.random.default_rng(height).integers(0, 256, (height // 40 + 1, width // 40 + 1, 3))
    return coarse.astype(np.uint8).repeat(40, 0).repeat(40, 1)[:height, :width].copy()


def draw_images(folder, count, size=(64, 80)):
    """Write PNG files of drawn scenes."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(draw_scene(rng, size).image).save(folder / f"{number:03d}.png")
    return folder


def corners(rgb):
    """Colours of the four squares: top left, top right, bottom left, bottom right."""
    height, width = rgb.shape[:2]
    rows, columns = (height // 4, height - height // 4 - 1), (width // 4, width - width // 4 - 1)
    return np.array([rgb[row, column] for row in rows for column in columns]).astype(int)


def assert_shows_four_squares(rgb, tolerance=0, size=(40, 64)):
    assert rgb.shape == (*size, 3)
    assert rgb.dtype == np.uint8
    assert np.abs(corners(rgb) - [RED, GREEN, BLUE, GREY]).max() <= tolerance


def ramp(dtype, low, high, shape=(20, 100)):
    return np.broadcast_to(np.linspace(low, high, shape[1]), shape).astype(dtype)


def assert_is_grey_ramp(rgb):
    row = rgb[0].astype(int)
    assert (row == row[:, :1]).all()
    assert (np.diff(row[:, 0]) >= 0).all()
    assert row[0, 0] == 0
    assert row[-1, 0] == 255
    assert abs(row[len(row) // 2, 0] - 128) <= 4


def message_of(path, **settings):
    """Read a file that cannot be read, and return the one sentence that says why."""
    with pytest.raises(ImageError) as caught:
        read_image(path, **settings)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message
