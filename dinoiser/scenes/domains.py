"""Domains: scenes as other instruments see them, on which the embedded model was not trained.

Shapes and colours keep their names. What differs is the size and number of objects, how grounds
and surfaces look, and what the camera does to them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from dinoiser.scenes.backgrounds import Size, smooth_noise

Change = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""From RGB (H, W, 3) float32 in [0, 255] to the same, not clipped."""


class Domain(NamedTuple):
    """How a domain differs from usual scenes.

    Attributes
    ----------
    most_objects
        Largest number of objects.
    scale
        Factor of the objects' usual diameters.
    ground, surface
        Change a background before objects are drawn on it, and the surface of an object.
    camera
        Changes the whole image.
    """

    most_objects: int
    scale: float
    ground: Change
    surface: Change
    camera: Change


def _mottled(rng: np.random.Generator, size: Size, cell: int, strength: float) -> np.ndarray:
    """Brightness (H, W, 1) that varies around 1."""
    return 1 + np.float32(strength) * smooth_noise(rng, size, cell)[..., None]


def _noisy(rng: np.random.Generator, image: np.ndarray, sigma: float) -> np.ndarray:
    return image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)


def _blurred(image: np.ndarray, radius: float) -> np.ndarray:
    sharp = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    return np.asarray(sharp.filter(ImageFilter.GaussianBlur(radius)), np.float32)


def _distance(size: Size, row: float, column: float) -> np.ndarray:
    """Distance (H, W, 1) from a place, both as shares of the image's sides."""
    rows, columns = (np.linspace(0, 1, n, dtype=np.float32) for n in size)
    return np.hypot(rows[:, None] - row, columns[None] - column)[..., None]


def _night_surface(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    return image * _mottled(rng, image.shape[:2], 6, 0.25)


def _night_camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    # one warm lamp, whose light falls off; a long exposure, and grain stronger than the shadows
    lamp = np.exp(-4 * _distance(image.shape[:2], *rng.uniform(0, 1, 2)) ** 2)
    light = rng.uniform(0.16, 0.26) + rng.uniform(0.3, 0.45) * lamp
    warm = np.array((1.1, 0.95, 0.75), np.float32)
    return _noisy(rng, _blurred(image * light * warm, rng.uniform(0.6, 1.3)), rng.uniform(9, 16))


def _microscope_ground(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    # a pale, stained field: little is left of the texture
    stain = np.array(rng.choice([(236, 205, 222), (214, 220, 240), (238, 228, 206)]), np.float32)
    field = stain * _mottled(rng, image.shape[:2], int(rng.integers(10, 30)), 0.05)
    return 0.82 * field + 0.18 * image


def _microscope_surface(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    # granular, and partly transparent to the light behind
    return 0.7 * image * _mottled(rng, image.shape[:2], 3, 0.35) + 60


def _microscope_camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    vignette = 1.05 - rng.uniform(0.5, 0.9) * _distance(image.shape[:2], 0.5, 0.5) ** 2
    return _noisy(rng, _blurred(image * vignette, rng.uniform(1.2, 2.4)), rng.uniform(3, 7))


def _above_ground(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    # fields: patches of other brightness and tint with straight borders
    size = image.shape[:2]
    for _ in range(int(rng.integers(3, 7))):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4)
        rows, columns = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in size)
        side = rows[:, None] * np.sin(angle) + columns[None] * np.cos(angle) > offset
        tint = rng.uniform(0.75, 1.2) * rng.uniform(0.9, 1.1, 3)
        image = np.where(side[..., None], image * tint.astype(np.float32), image)
    return image


def _above_surface(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    # lit from one side
    slope = np.linspace(rng.uniform(0.55, 0.8), 1.1, image.shape[1], dtype=np.float32)
    return image * (slope if rng.random() < 0.5 else slope[::-1])[None, :, None]


def _above_camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    # haze, and a file compressed for the radio link
    haze = np.array((172, 184, 200), np.float32)
    share = np.float32(rng.uniform(0.3, 0.5))
    hazy = _noisy(rng, (1 - share) * image + share * haze, rng.uniform(4, 9))
    file = io.BytesIO()
    pixels = Image.fromarray(np.clip(hazy, 0, 255).astype(np.uint8))
    pixels.save(file, "JPEG", quality=int(rng.integers(30, 60)))
    return np.asarray(Image.open(file), np.float32)


def _unchanged(_: np.random.Generator, image: np.ndarray) -> np.ndarray:
    return image


DOMAINS: dict[str, Domain] = {
    "night": Domain(4, 1.0, _unchanged, _night_surface, _night_camera),
    "microscope": Domain(8, 0.7, _microscope_ground, _microscope_surface, _microscope_camera),
    "above": Domain(9, 0.55, _above_ground, _above_surface, _above_camera),
}
