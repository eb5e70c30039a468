"""Training batches of the tiny backbone: new scenes with labels for every patch."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter
from skimage.measure import label as connected_regions
from torch import Tensor
from torch.nn import functional as F

from dinoiser.scenes import COLORS, Scene, draw_scene

from .vocabulary import CLASSES

PATCH = 8
PATCHES_PER_BATCH = 2304
MOST_REGIONS = 8
"""Further regions of a scene, which are rare, count as background."""

# Up to which share of training, how often each size is drawn: small images first, because they
# show four times as many objects per second.
SIZES: tuple[tuple[float, dict[tuple[int, int], float]], ...] = (
    (0.3, {(64, 64): 0.55, (96, 96): 0.3, (128, 128): 0.15}),
    (0.6, {(64, 64): 0.15, (96, 96): 0.3, (128, 128): 0.3, (160, 160): 0.15, (128, 192): 0.1}),
    (1.0, {(96, 96): 0.2, (128, 128): 0.25, (160, 160): 0.2, (224, 224): 0.3, (320, 448): 0.05}),
)


@dataclass(frozen=True)
class SceneBatch:
    """B scenes of the same size, with N patches each.

    Attributes
    ----------
    pixels
        (B, 3, H, W), float32 in [0, 1].
    regions
        (B, H, W), int64: 0 = background, otherwise the number of a connected object.
    region_classes
        (B, 1 + MOST_REGIONS), int64: index into ``CLASSES`` of each region, -1 = no such region.
    """

    pixels: Tensor
    regions: Tensor
    region_classes: Tensor

    def patch_regions(self) -> tuple[Tensor, Tensor]:
        """Return the majority region of each patch (B, N), and its share of the patch's pixels."""
        one_hot = F.one_hot(self.regions, 1 + MOST_REGIONS).permute(0, 3, 1, 2).float()
        share, region = F.avg_pool2d(one_hot, PATCH).flatten(2).max(1)
        return region, share

    def classes_present(self) -> Tensor:
        """(B, number of ``CLASSES``), bool."""
        present = torch.zeros(len(self.pixels), len(CLASSES) + 1, dtype=torch.bool)
        # -1 (no region) becomes the last, which is cut off
        column = self.region_classes % (len(CLASSES) + 1)
        return present.scatter_(1, column, True)[:, :-1]


def draw_size(rng: np.random.Generator, progress: float) -> tuple[int, int]:
    """Draw height and width of images to suit the progress of training, in [0, 1]."""
    mixture = next(sizes for end, sizes in SIZES if progress <= end)
    return list(mixture)[rng.choice(len(mixture), p=list(mixture.values()))]


def draw_batch(rng: np.random.Generator, size: tuple[int, int]) -> SceneBatch:
    """Draw as many scenes of a height and width as have the patches of a batch."""
    height, width = size
    count = max(1, round(PATCHES_PER_BATCH * PATCH**2 / (height * width)))
    # few colours in some batches, so that objects must be told apart by shape
    colors = rng.choice(COLORS, 2, replace=False).tolist() if rng.random() < 0.3 else COLORS
    shorter = min(height, width)
    scenes = [
        draw_scene(
            rng,
            (height, width),
            camera=False,
            most_objects=2 + shorter // 64,
            object_sizes=(10 + shorter / 24, 0.9 * min(shorter, 64 + shorter / 2)),
            colors=colors,
        )
        for _ in range(count)
    ]
    images = np.stack([_photograph(rng, scene.image) for scene in scenes])
    regions, classes = zip(*map(_regions_of, scenes), strict=True)
    return SceneBatch(
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255,
        torch.from_numpy(np.stack(regions)),
        torch.from_numpy(np.stack(classes)),
    )


def _regions_of(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    regions = connected_regions(scene.labels, background=0, connectivity=1)
    regions[regions > MOST_REGIONS] = 0
    classes = np.full(1 + MOST_REGIONS, -1)
    classes[0] = CLASSES.index(scene.background)
    for region in range(1, regions.max() + 1):
        label = scene.labels[regions == region][0]
        classes[region] = CLASSES.index(scene.names[label - 1])
    return regions.astype(np.int64), classes


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add brightness, colour cast, blur, sensor noise and JPEG, each to some images."""
    gain = rng.uniform(0.96, 1.04, 3) + (rng.uniform(-0.22, 0.15) if rng.random() < 0.6 else 0)
    photograph = Image.fromarray(_to_bytes(image * gain.astype(np.float32)))
    if rng.random() < 0.2:
        photograph = photograph.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.3)))
    if rng.random() < 0.5:
        channels = 3 if rng.random() < 0.7 else 1
        noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32)
        noisy = np.asarray(photograph, np.float32) + np.float32(rng.uniform(0, 20)) * noise
        photograph = Image.fromarray(_to_bytes(noisy))
    if rng.random() < 0.12:
        file = io.BytesIO()
        photograph.save(file, "JPEG", quality=int(rng.integers(35, 92)))
        photograph = Image.open(file)
    return np.asarray(photograph)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)
