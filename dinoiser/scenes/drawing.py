"""Synthetic scenes: coloured shapes on textured backgrounds, with exact masks.

The embedded model ``tiny`` knows what is drawn here, so that demos and tests
run without a download. Its backbone was trained on easy scenes; hard scenes
add textured objects, clutter, blur, strong sensor noise and JPEG artefacts.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from dinoiser.errors import SettingsError
from dinoiser.scenes.backgrounds import BACKGROUNDS, Size, paint_background
from dinoiser.scenes.degradations import bad_camera, good_camera, scatter_clutter, texture_surface
from dinoiser.scenes.domains import DOMAINS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dinoiser.scenes.domains import Change, Domain

SMALLEST_SIDE = 32  # pixels
ABSENT = 5  # classes listed per scene that are not in it

# Hue in degrees, saturation and value in [0, 1]. The ranges are wide on purpose, so that what other
# programs call red is red here too.
_COLOR_RANGES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-9, 8), (0.75, 1), (0.62, 1)),
    "orange": ((22, 39), (0.78, 1), (0.86, 1)),
    "yellow": ((50, 63), (0.65, 1), (0.8, 1)),
    "green": ((95, 155), (0.6, 1), (0.42, 0.95)),
    "cyan": ((172, 189), (0.6, 1), (0.75, 1)),
    "blue": ((213, 248), (0.7, 1), (0.5, 1)),
    "purple": ((268, 301), (0.55, 1), (0.42, 0.75)),
    "pink": ((318, 351), (0.24, 0.58), (0.9, 1)),
    "white": ((0, 360), (0, 0.04), (0.93, 1)),
    "black": ((0, 360), (0, 0.5), (0, 0.1)),
}
COLORS: tuple[str, ...] = tuple(_COLOR_RANGES)
# The embedded model has no word for these: what it can learn of them, it learns from masks.
_OTHER_RANGES = {
    "brown": ((15, 30), (0.5, 0.8), (0.3, 0.5)),
    "grey": ((0, 360), (0, 0.08), (0.4, 0.65)),
    "olive": ((55, 75), (0.5, 0.9), (0.3, 0.5)),
    "beige": ((30, 45), (0.15, 0.35), (0.8, 0.95)),
    "navy": ((220, 240), (0.6, 1), (0.15, 0.35)),
}
OTHER_COLORS: tuple[str, ...] = tuple(_OTHER_RANGES)


def _regular(corners: int, radii: Sequence[float] = (1.0,)) -> np.ndarray:
    angles = 2 * np.pi * np.arange(corners) / corners - np.pi / 2
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points * np.resize(radii, corners)[:, None]


def _cross(arm: float = 0.33) -> np.ndarray:
    # three corners of the top arm, turned by a quarter three times
    quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)])
    turn = np.array([(0, 1), (-1, 0)])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _heart(points: int = 40) -> np.ndarray:
    # the usual heart curve, centred and scaled to the unit circle
    t = 2 * np.pi * np.arange(points) / points
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, 1.7 - height], axis=1) / 17


# Corners (x, y) within the unit circle, y down, and the largest tilt in radians.
OUTLINES: dict[str, tuple[np.ndarray, float]] = {
    "circle": (_regular(72), math.pi),
    "square": (0.85 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), 0.35),
    "triangle": (_regular(3), math.pi),
    "star": (_regular(10, (1, 0.42)), math.pi),
    "ring": (_regular(72), math.pi),
    "cross": (_cross(), 0.35),
    "hexagon": (_regular(6), math.pi),
    "heart": (_heart(), 0.35),
}
SHAPES: tuple[str, ...] = tuple(OUTLINES)


@dataclass(frozen=True)
class Scene:
    """One image and the ground truth for it.

    Attributes
    ----------
    image
        Shape (H, W, 3), RGB, uint8.
    labels
        Shape (H, W), uint8: 0 is background, ``k`` is an object of class ``names[k - 1]``.
    names
        Classes in the image, such as ``"red circle"``, in the order of their labels.
    absent
        Five classes of the same kind that are not in the image.
    background
        One of ``BACKGROUNDS``.
    caption
        One phrase about the whole image.
    """

    image: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    absent: tuple[str, ...]
    background: str
    caption: str


def draw_scenes(
    count: int,
    seed: int,
    size: Size = (224, 224),
    hard: bool = False,
    domain: str | None = None,
) -> Iterator[Scene]:
    """Draw scenes; the i-th depends only on the seed and i.

    Parameters
    ----------
    count
        Number of scenes to draw.
    seed
        Any non-negative number; different seeds share no scene.
    size
        Height and width in pixels, at least 32 each.
    hard, domain
        Degrade or change the scenes, see `draw_scene`.

    Yields
    ------
    Scene
        One scene after another.
    """
    for index in range(count):
        yield draw_scene(np.random.default_rng((seed, index)), size, hard=hard, domain=domain)


def draw_scene(
    rng: np.random.Generator,
    size: Size = (224, 224),
    *,
    hard: bool = False,
    camera: bool = True,
    most_objects: int = 4,
    object_sizes: tuple[float, float] | None = None,
    colors: Sequence[str] = COLORS,
    domain: str | None = None,
) -> Scene:
    """Draw one to ``most_objects`` shapes on a background.

    Parameters
    ----------
    rng
        Source of all randomness.
    size
        Height and width in pixels, at least 32 each.
    hard
        Add textured objects, clutter (labelled background), blur, strong
        sensor noise and JPEG artefacts.
    camera
        Pass an easy scene through a good camera: brightness and slight sensor noise. Hard
        scenes always go through a bad one.
    most_objects
        Largest number of objects.
    object_sizes
        Smallest and largest diameter in pixels. By default they depend on the shorter side:
        32 to 120 pixels at 224, 40 to 160 at 320.
    colors
        Object colours to choose from, of `COLORS` or `OTHER_COLORS`.
    domain
        One of `dinoiser.scenes.DOMAINS`: grounds, surfaces, sizes and the camera are its own;
        the number and sizes of objects are then not to be given.

    Returns
    -------
    Scene
        The image with its exact labels.

    Raises
    ------
    SettingsError
        If a side is shorter than 32 pixels, or the domain is unknown.
    """
    if min(size) < SMALLEST_SIDE:
        msg = f"scene size {size} is too small: expected at least {SMALLEST_SIDE} pixels per side"
        raise SettingsError(msg)
    sizes = object_sizes or _usual_sizes(min(size))
    background = str(rng.choice(BACKGROUNDS))
    canvas = paint_background(rng, background, size)
    place = _find_domain(domain)
    if place is not None:
        canvas = place.ground(rng, canvas)
        most_objects = place.most_objects
        sizes = (place.scale * sizes[0], place.scale * sizes[1])
    if hard:
        scatter_clutter(rng, canvas)
    surface = place.surface if place else None
    labels, classes = _place_objects(rng, canvas, hard, most_objects, sizes, colors, surface)
    if place is not None:
        image = place.camera(rng, canvas)
    else:
        image = bad_camera(rng, canvas) if hard else good_camera(rng, canvas) if camera else canvas
    # classes that have no pixels left are dropped and the others renumbered
    present = np.unique(labels[labels > 0])
    names = tuple(classes[k - 1] for k in present)
    return Scene(
        image=np.clip(image, 0, 255).astype(np.uint8),
        labels=np.searchsorted(present, labels, side="right").astype(np.uint8),
        names=names,
        absent=_absent_classes(rng, names),
        background=background,
        caption=" and ".join(f"a {name}" for name in names) + f" on {background}",
    )


def _find_domain(name: str | None) -> Domain | None:
    if name is None:
        return None
    if name not in DOMAINS:
        msg = f"the domain is {name!r}, expected one of {', '.join(DOMAINS)}"
        raise SettingsError(msg)
    return DOMAINS[name]


def _usual_sizes(shorter_side: int) -> tuple[float, float]:
    # Linear in the side, through 32 to 120 pixels at 224 and 40 to 160 pixels at 320: the sizes in
    # the sets on which the backbone was evaluated.
    return (160 + shorter_side) / 12, (320 + 5 * shorter_side) / 12


def _absent_classes(rng: np.random.Generator, names: Sequence[str]) -> tuple[str, ...]:
    others = [f"{c} {s}" for s in SHAPES for c in COLORS if f"{c} {s}" not in names]
    return tuple(str(name) for name in rng.choice(others, ABSENT, replace=False))


def _place_objects(
    rng: np.random.Generator,
    canvas: np.ndarray,
    textured: bool,
    most_objects: int,
    object_sizes: tuple[float, float],
    colors: Sequence[str],
    change: Change | None,
) -> tuple[np.ndarray, list[str]]:
    """Draw the objects onto the canvas; return the labels and the class of each label."""
    labels = np.zeros(canvas.shape[:2], np.uint8)
    classes: list[str] = []
    for top, left, diameter in _free_places(rng, canvas.shape[:2], most_objects, object_sizes):
        shape, color = str(rng.choice(SHAPES)), str(rng.choice(colors))
        if (name := f"{color} {shape}") not in classes:
            classes.append(name)
        # an object may stick out at the top or bottom: keep the rows that lie on the canvas
        alpha = _shape_mask(rng, shape, diameter)[max(-top, 0) : canvas.shape[0] - top]
        box = (slice(max(top, 0), top + diameter), slice(left, left + diameter))
        surface = _paint_surface(rng, _pick_color(rng, color), alpha.shape, textured)
        surface = change(rng, surface) if change else surface
        canvas[box] += alpha[..., None] / 255 * (surface - canvas[box])
        labels[box][alpha > 127] = classes.index(name) + 1
    return labels, classes


def _free_places(
    rng: np.random.Generator, size: Size, most: int, object_sizes: tuple[float, float]
) -> list[tuple[int, int, int]]:
    """Return top, left and diameter of objects that overlap at most slightly."""
    height, width = size
    # of three and more, each is smaller, so that all find a place
    count = int(rng.integers(1, most + 1))
    smallest, largest = object_sizes
    largest = min(largest, (0.6 if count > 2 else 0.9) * min(size))
    # distance of centres in units of touching circles: below 1 they may overlap
    closeness = rng.uniform(0.8, 1.1)
    places: list[tuple[int, int, int]] = []
    # a fixed number of draws, so that what follows does not depend on how many were accepted
    for _ in range(12 * count):
        diameter = int(np.exp(rng.uniform(np.log(min(smallest, largest)), np.log(largest))))
        cut = diameter // 6 if rng.random() < 0.2 else 0
        top = int(rng.integers(-cut, height - diameter + cut + 1))
        left = int(rng.integers(0, width - diameter + 1))
        if len(places) < count and all(
            math.hypot(top - t + (diameter - d) / 2, left - x + (diameter - d) / 2)
            > closeness * (diameter + d) / 2
            for t, x, d in places
        ):
            places.append((top, left, diameter))
    return places


def _shape_mask(rng: np.random.Generator, shape: str, diameter: int) -> np.ndarray:
    """Coverage of each pixel, shape (diameter, diameter), uint8; antialiased by 3x3 samples."""
    outline, tilt = OUTLINES[shape]
    angle = rng.uniform(-tilt, tilt)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = outline @ np.array([(cos, sin), (-sin, cos)])
    drawing = Image.new("L", (3 * diameter, 3 * diameter))
    _fill(drawing, 0.96 * corners, 255)
    if shape == "ring":
        _fill(drawing, rng.uniform(0.47, 0.62) * corners, 0)
    return np.asarray(drawing.reduce(3))


def _fill(drawing: Image.Image, corners: np.ndarray, value: int) -> None:
    pixels = (corners + 1) * drawing.width / 2
    ImageDraw.Draw(drawing).polygon([(x, y) for x, y in pixels.tolist()], fill=value)


def _pick_color(rng: np.random.Generator, color: str) -> np.ndarray:
    hue, saturation, value = (
        rng.uniform(*bounds) for bounds in (_COLOR_RANGES | _OTHER_RANGES)[color]
    )
    return 255 * np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), np.float32)


def _paint_surface(
    rng: np.random.Generator, color: np.ndarray, size: Size, textured: bool
) -> np.ndarray:
    if textured:
        return texture_surface(rng, color, size)
    surface = np.broadcast_to(color, (*size, 3))
    if rng.random() < 0.4:
        grain = rng.standard_normal((*size, 1), dtype=np.float32)
        surface = np.clip(surface + rng.uniform(3, 12) * grain, 0, 255)
    return surface
