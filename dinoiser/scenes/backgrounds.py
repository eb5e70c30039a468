"""The backgrounds of the synthetic scenes: twelve kinds of texture, painted with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

Size = tuple[int, int]
Painter = Callable[[np.random.Generator, Size], np.ndarray]


def paint_background(rng: np.random.Generator, name: str, size: Size) -> np.ndarray:
    """Paint one background.

    Parameters
    ----------
    rng
        Source of all randomness.
    name
        One of ``BACKGROUNDS``.
    size
        Height and width in pixels.

    Returns
    -------
    numpy.ndarray
        Shape (H, W, 3), RGB, float32 in [0, 255].
    """
    painted = _PAINTERS[name](rng, size)
    return np.clip(np.broadcast_to(painted, (*size, 3)), 0, 255).astype(np.float32)


def smooth_noise(rng: np.random.Generator, size: Size, cell: int) -> np.ndarray:
    """Draw normal noise on a coarse grid and enlarge it.

    Parameters
    ----------
    rng
        Source of all randomness.
    size
        Height and width in pixels.
    cell
        Distance between grid points in pixels, about the size of the blotches.

    Returns
    -------
    numpy.ndarray
        Shape (H, W), float32, mean about 0 and standard deviation below 1.
    """
    height, width = size
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    return _enlarge(coarse, size)


def _enlarge(coarse: np.ndarray, size: Size) -> np.ndarray:
    height, width = size
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _blotches(rng: np.random.Generator, size: Size, smallest: int, largest: int) -> np.ndarray:
    return smooth_noise(rng, size, int(rng.integers(smallest, largest)))[..., None]


def _grain(rng: np.random.Generator, size: Size, channels: int = 1) -> np.ndarray:
    return rng.standard_normal((*size, channels), dtype=np.float32)


def _tone(rng: np.random.Generator, rgb: tuple[int, int, int], spread: float = 14) -> np.ndarray:
    return np.array(rgb, np.float32) + rng.uniform(-spread, spread, 3)


def _rows_and_columns(size: Size) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices(size, dtype=np.float32)
    return rows, columns


# Each painter returns RGB in [0, 255], before clipping, of a shape that broadcasts to (H, W, 3).
# The order of the draws from `rng` is part of every scene: a change here changes them all.


def _grass(rng: np.random.Generator, size: Size) -> np.ndarray:
    height, width = size
    # stretched down only, so that blades are upright streaks one pixel wide
    blades = _enlarge(rng.standard_normal((height // 6 + 2, width), dtype=np.float32), size)
    grain = _grain(rng, size) * np.array((20, 28, 12), np.float32)
    tone = _tone(rng, (70, 125, 45))
    return tone + 25 * _blotches(rng, size, 8, 24) + grain + 18 * blades[..., None]


def _sky(rng: np.random.Generator, size: Size) -> np.ndarray:
    height = size[0]
    depth = np.linspace(0, 1, height, endpoint=False)[:, None, None]
    air = _tone(rng, (90, 150, 225)) * (1 - depth) + _tone(rng, (185, 215, 245)) * depth
    clouds = np.clip(_blotches(rng, size, 16, 60) + rng.uniform(-0.6, 0.4), 0, 1)
    return air * (1 - clouds) + 245 * clouds


def _sand(rng: np.random.Generator, size: Size) -> np.ndarray:
    rows, _ = _rows_and_columns(size)
    ripples = np.sin((rows + 6 * smooth_noise(rng, size, 24)) / rng.uniform(2, 5))[..., None]
    grain = rng.uniform(5, 14) * _grain(rng, size)
    return _tone(rng, (212, 186, 140)) + 10 * _blotches(rng, size, 8, 30) + grain + 8 * ripples


def _brick(rng: np.random.Generator, size: Size) -> np.ndarray:
    brick_height = int(rng.integers(7, 20))
    brick_width = 2 * brick_height
    rows, columns = _rows_and_columns(size)
    course = (rows // brick_height).astype(int)
    columns = columns + course % 2 * brick_height  # every other course is shifted by half a brick
    # one shade per brick, looked up for each pixel
    place = (columns // brick_width).astype(int)
    shades = rng.uniform(-25, 25, (course.max() + 1, place.max() + 1))
    wall = _tone(rng, (165, 75, 55)) + shades[course, place][..., None] + 8 * _grain(rng, size)
    mortar = (rows % brick_height < 1.6) | (columns % brick_width < 1.6)
    return np.where(mortar[..., None], _tone(rng, (195, 185, 175)), wall)


def _wood(rng: np.random.Generator, size: Size) -> np.ndarray:
    rows, _ = _rows_and_columns(size)
    # growth rings: horizontal lines, bent by noise of two scales
    bent = rows + 14 * smooth_noise(rng, size, 40) + 4 * smooth_noise(rng, size, 12)
    rings = np.sin(bent / rng.uniform(1.5, 5))[..., None]
    seams = (rows % int(rng.integers(24, 60)) < 1.5)[..., None]
    return _tone(rng, (150, 100, 55)) + 22 * rings + 6 * _grain(rng, size) - 35 * seams


def _water(rng: np.random.Generator, size: Size) -> np.ndarray:
    rows, columns = _rows_and_columns(size)
    waves = np.sin(rows / rng.uniform(2, 6) + 2 * smooth_noise(rng, size, 16))
    crossing = columns / rng.uniform(5, 9) + rows / 3 + 2 * smooth_noise(rng, size, 20)
    waves = (waves + 0.6 * np.sin(crossing))[..., None]
    return _tone(rng, (30, 105, 140)) + waves * np.array((14, 24, 26)) + 4 * _grain(rng, size)


def _stone(rng: np.random.Generator, size: Size) -> np.ndarray:
    lumps = 22 * _blotches(rng, size, 4, 12) + 14 * smooth_noise(rng, size, 24)[..., None]
    return _tone(rng, (125, 125, 122), 10) + lumps + 8 * _grain(rng, size)


def _snow(rng: np.random.Generator, size: Size) -> np.ndarray:
    drifts = _blotches(rng, size, 14, 40) * np.array((9, 9, 6.3))
    return _tone(rng, (228, 234, 242), 6) + drifts + 5 * _grain(rng, size)


def _two_tones(rng: np.random.Generator, size: Size, second: np.ndarray) -> np.ndarray:
    first_tone = rng.uniform(50, 200) + rng.uniform(-35, 35, 3)
    step = rng.choice((-1, 1)) * rng.uniform(35, 60) + rng.uniform(-20, 20, 3)
    return first_tone + second[..., None] * step + 3 * _grain(rng, size)


def _checkerboard(rng: np.random.Generator, size: Size) -> np.ndarray:
    rows, columns = _rows_and_columns(size)
    cell = rng.uniform(5, 20)
    return _two_tones(rng, size, (rows // cell + columns // cell) % 2)


def _striped(rng: np.random.Generator, size: Size) -> np.ndarray:
    across = _direction(rng, size, math.pi)
    return _two_tones(rng, size, across // rng.uniform(5, 20) % 2)


def _direction(rng: np.random.Generator, size: Size, largest_angle: float) -> np.ndarray:
    rows, columns = _rows_and_columns(size)
    angle = rng.uniform(0, largest_angle)
    return columns * math.cos(angle) + rows * math.sin(angle)


def _plain(rng: np.random.Generator, size: Size) -> np.ndarray:
    # grey or tinted; one tone or a gradient between two
    tint = 1 if rng.random() < 0.5 else 0
    first = rng.uniform(40, 215) + tint * rng.uniform(-40, 40, 3)
    if rng.random() < 0.5:
        return np.broadcast_to(first, (*size, 3))
    second = np.clip(first + rng.uniform(-50, 50, 3 if tint else 1), 15, 240)
    along = _direction(rng, size, 2 * math.pi)
    along = ((along - along.min()) / max(np.ptp(along), 1))[..., None]
    return first * (1 - along) + second * along


def _noise(rng: np.random.Generator, size: Size) -> np.ndarray:
    channels = 3 if rng.random() < 0.6 else 1
    return rng.uniform(80, 175) + rng.uniform(25, 60) * _grain(rng, size, channels)


_PAINTERS: dict[str, Painter] = {
    "grass": _grass,
    "sky": _sky,
    "sand": _sand,
    "brick": _brick,
    "wood": _wood,
    "water": _water,
    "stone": _stone,
    "snow": _snow,
    "checkerboard": _checkerboard,
    "striped": _striped,
    "plain": _plain,
    "noise": _noise,
}

BACKGROUNDS: tuple[str, ...] = tuple(_PAINTERS)
