"""Draw student and teacher side by side: objects, and the correlations of one patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from dinoiser.models.clip_dinoiser import DinoiserHeads

    from .images import Crops
    from .student import Prepared

PANEL = 224
"""Side of a panel in pixels."""
TITLES = ("image", "teacher: objects", "student: objects", "teacher: alike", "student: alike")
TITLE_HEIGHT = 16
OBJECT_COLOR = np.array([230, 60, 60])


def preview(heads: DinoiserHeads, shown: Iterable[tuple[Crops, Prepared]]) -> np.ndarray:
    """Draw one row of panels per batch, each of a single crop.

    Objects are red. Correlations are those of the marked patch with all others, from
    black (0 or less) to white (1).

    Returns
    -------
    np.ndarray
        (H, W, 3), uint8.
    """
    rows = [_row(heads, batch.pixels[0], prepared) for batch, prepared in shown]
    return np.concatenate([_titles(), *rows])


@torch.no_grad()
def _row(heads: DinoiserHeads, pixels: Tensor, prepared: Prepared) -> np.ndarray:
    embeddings, foreground = heads(prepared.guide)
    objects = prepared.targets.objects[0]
    seed = _seed(objects)
    image = _panel(pixels.permute(1, 2, 0).numpy())
    # the teacher's features and the student's embeddings, compared with the same patch
    maps = [_correlations(f[0], seed) for f in (prepared.targets.features, embeddings)]
    panels = [
        _mark(image, seed, objects.shape),
        *(_overlay(image, mask) for mask in (objects, foreground[0] > 0)),
        *(_panel(some.cpu().numpy()[..., None].repeat(3, -1)) for some in maps),
    ]
    return np.concatenate(panels, 1)


def _seed(objects: Tensor) -> tuple[int, int]:
    """Return the object patch nearest to the centre of all objects, or the image's centre."""
    places = objects.nonzero().float()
    if not len(places):
        return objects.shape[0] // 2, objects.shape[1] // 2
    nearest = places[(places - places.mean(0)).square().sum(1).argmin()]
    return int(nearest[0]), int(nearest[1])


def _correlations(features: Tensor, seed: tuple[int, int]) -> Tensor:
    unit = F.normalize(features, dim=0)
    return torch.einsum("chw,c->hw", unit, unit[:, seed[0], seed[1]]).clamp(0, 1)


def _panel(values: np.ndarray) -> np.ndarray:
    """Convert (h, w, 3) in [0, 1] to a uint8 panel."""
    image = Image.fromarray((255 * values).round().astype(np.uint8))
    return np.asarray(image.resize((PANEL, PANEL), Image.Resampling.NEAREST))


def _overlay(panel: np.ndarray, mask: Tensor) -> np.ndarray:
    chosen = _panel(mask.cpu().numpy().astype(float)[..., None].repeat(3, -1)) > 0
    return np.where(chosen, (panel + OBJECT_COLOR) // 2, panel).astype(np.uint8)


def _mark(panel: np.ndarray, seed: tuple[int, int], grid: tuple[int, ...]) -> np.ndarray:
    image = Image.fromarray(panel)
    # the patch's rectangle, scaled from the grid to the panel
    top, left = (place * PANEL / length for place, length in zip(seed, grid, strict=True))
    box = (left, top, left + PANEL / grid[1], top + PANEL / grid[0])
    ImageDraw.Draw(image).rectangle(box, outline=(255, 255, 255), width=2)
    return np.asarray(image)


def _titles() -> np.ndarray:
    image = Image.new("RGB", (len(TITLES) * PANEL, TITLE_HEIGHT))
    draw = ImageDraw.Draw(image)
    for i, title in enumerate(TITLES):
        draw.text((i * PANEL + 4, 2), title, fill="white")
    return np.asarray(image)
