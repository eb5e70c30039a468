"""What makes scenes hard: surface texture, clutter, blur, sensor noise and JPEG artefacts."""

from __future__ import annotations

import colorsys
import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dinoiser.scenes.backgrounds import Size, smooth_noise


def texture_surface(rng: np.random.Generator, color: np.ndarray, size: Size) -> np.ndarray:
    """Cover a surface with stripes or blotches, dark on light colours and light on dark ones.

    Parameters
    ----------
    rng
        Source of all randomness.
    color
        Shape (3,), RGB in [0, 255].
    size
        Height and width in pixels.

    Returns
    -------
    numpy.ndarray
        Shape (H, W, 3), RGB in [0, 255].
    """
    rows, columns = np.indices(size)
    if rng.random() < 0.5:
        angle = rng.uniform(0, math.pi)
        across = columns * math.cos(angle) + rows * math.sin(angle)
        pattern = across // rng.uniform(3, 9) % 2
    else:
        pattern = np.clip(smooth_noise(rng, size, int(rng.integers(3, 9))), 0, 1)
    # mix towards black on light colours, towards white on dark ones
    ink = np.full(3, 0.0 if color.max() > 128 else 255.0)
    strength = rng.uniform(0.2, 0.55) * pattern[..., None]
    return color + strength * (ink - color)


def scatter_clutter(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Draw small shards and strokes of any colour onto a background, in place.

    None of them is one of the shapes to find, so they count as background.

    Parameters
    ----------
    rng
        Source of all randomness.
    canvas
        Shape (H, W, 3), RGB, float32 in [0, 255].
    """
    height, width = canvas.shape[:2]
    # PIL draws on 8 bits; the canvas is read back at the end
    image = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(8, 25))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        reach = rng.uniform(0.015, 0.045) * min(height, width)
        if rng.random() < 0.5:
            angles = np.sort(rng.uniform(0, 2 * math.pi, 5))
            radii = reach * rng.uniform(0.3, 1.2, 5)
            corners = zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)
            pen.polygon(list(corners), _any_color(rng))
        else:
            angle = rng.uniform(0, math.pi)
            dx, dy = 2 * reach * math.cos(angle), 2 * reach * math.sin(angle)
            pen.line((x - dx, y - dy, x + dx, y + dy), _any_color(rng), max(1, round(reach / 3)))
    canvas[:] = np.asarray(image)


def _any_color(rng: np.random.Generator) -> tuple[int, int, int]:
    rgb = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 1), rng.uniform(0.1, 1))
    red, green, blue = (round(255 * channel) for channel in rgb)
    return red, green, blue


def good_camera(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Change the brightness a little and, in some images, add slight sensor noise.

    Parameters
    ----------
    rng
        Source of all randomness.
    canvas
        Shape (H, W, 3), RGB, float32 in [0, 255].

    Returns
    -------
    numpy.ndarray
        Shape (H, W, 3), float32, not clipped.
    """
    image = canvas * np.float32(rng.uniform(0.85, 1.1))
    return _add_noise(rng, image, rng.uniform(2, 15)) if rng.random() < 0.4 else image


def bad_camera(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Blur, add strong sensor noise and compress as JPEG.

    Parameters
    ----------
    rng
        Source of all randomness.
    canvas
        Shape (H, W, 3), RGB, float32 in [0, 255].

    Returns
    -------
    numpy.ndarray
        Shape (H, W, 3), uint8.
    """
    # the order of a real camera: lens blur, exposure, sensor noise, then compression
    sharp = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    blurred = sharp.filter(ImageFilter.GaussianBlur(rng.uniform(0.7, 1.8)))
    image = np.asarray(blurred, np.float32) * np.float32(rng.uniform(0.75, 1.1))
    noisy = np.clip(_add_noise(rng, image, rng.uniform(18, 45)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=int(rng.integers(25, 65)))
    return np.asarray(Image.open(file))


def _add_noise(rng: np.random.Generator, image: np.ndarray, sigma: float) -> np.ndarray:
    return image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
