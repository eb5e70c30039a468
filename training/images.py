"""Training images, and random crops of them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dinoiser.images import read_image
from dinoiser.images.settings import AS_STORED
from dinoiser.scenes import draw_scene
from dinoiser.segment.resize import resize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dinoiser.images.settings import ReadSettings

    from .settings import FitSettings

KEPT_IMAGES = 2000
"""Number of images kept in memory, about 1 MB each at 448 pixels."""
AHEAD = 3
"""Number of batches prepared while the model works."""


class TrainingImage(NamedTuple):
    """An image to cut crops from.

    Attributes
    ----------
    image
        (3, H, W), uint8.
    labels
        (H, W), uint8: segments, 0 = background, 255 = unknown; None if there are none.
    name
        What the user calls it.
    """

    image: Tensor
    labels: Tensor | None
    name: str = ""


class Crops(NamedTuple):
    """B crops of the same size.

    Attributes
    ----------
    pixels
        (B, 3, H, W), float32 in [0, 1].
    labels
        (B, H, W), uint8, or None.
    """

    pixels: Tensor
    labels: Tensor | None

    def to(self, device: torch.device) -> Crops:
        """Copy to a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return Crops(self.pixels.to(device), labels)

    def split(self, size: int) -> Iterator[Crops]:
        """Split into batches of at most `size` crops."""
        for start in range(0, len(self.pixels), size):
            some = slice(start, start + size)
            yield Crops(self.pixels[some], None if self.labels is None else self.labels[some])


class TrainingImages(Protocol):
    """A numbered collection of images."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int) -> TrainingImage:
        """Return an image."""


class FileImages:
    """Image files, resized by their shorter side; recently used ones stay in memory.

    Parameters
    ----------
    paths
        The files.
    short_side
        Length of the shorter side in pixels.
    segments
        See `Teacher.segments`.
    names
        What the user calls the files; by default, their paths.
    reading
        How their pixels are read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        short_side: int,
        segments: Callable | None = None,
        names: Sequence[str] = (),
        reading: ReadSettings = AS_STORED,
    ) -> None:
        self.paths = list(paths)
        self.names = list(names) or [str(path) for path in paths]
        self._short_side = short_side
        self._segments, self._reading = segments, reading
        self._read = lru_cache(KEPT_IMAGES)(self._read_anew)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def __getitem__(self, index: int) -> TrainingImage:
        """Return an image; raise ImageError if it cannot be read."""
        return self._read(index)

    def _read_anew(self, index: int) -> TrainingImage:
        how = self._reading
        pixels = read_image(self.paths[index], nodata=how.nodata, bands=how.bands)
        height, width = pixels.shape[:2]
        scale = self._short_side / min(height, width)
        size = (round(height * scale), round(width * scale))
        # (H, W, 3) -> (3, H, W)
        image = resize(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), size)
        labels = self._labels(index, image, (height, width))
        found = None if labels is None else torch.from_numpy(labels)
        return TrainingImage(image, found, self.names[index])

    def _labels(self, index: int, image: Tensor, size: tuple[int, int]) -> np.ndarray | None:
        """Labels of a resized image (3, H, W), which had another size in its file."""
        if self._segments is None:
            return None
        labels: np.ndarray = self._segments(image.permute(1, 2, 0).numpy())
        return labels


class DrawnImages:
    """Drawn scenes with their exact labels, alternately easy and hard."""

    def __init__(self, count: int, seed: int, size: tuple[int, int] = (224, 224)) -> None:
        self._count, self._seed, self._size = count, seed, size
        self._draw = lru_cache(KEPT_IMAGES)(self._draw_anew)

    def __len__(self) -> int:
        """Return the number of scenes."""
        return self._count

    def __getitem__(self, index: int) -> TrainingImage:
        """Return a scene, which depends only on the seed and the index."""
        return self._draw(index)

    def _draw_anew(self, index: int) -> TrainingImage:
        rng = np.random.default_rng((self._seed, index))
        scene = draw_scene(rng, self._size, hard=index % 2 == 1)
        image = torch.from_numpy(scene.image).permute(2, 0, 1).contiguous()
        return TrainingImage(image, torch.from_numpy(scene.labels))


def crop_indices(count: int, settings: FitSettings, step: int) -> list[int]:
    """Return the indices, out of `count` images, for a step; each epoch is shuffled anew.

    An epoch has `settings.sample` crops, and its last batch may be smaller.
    """
    # steps per epoch, rounded up
    in_epoch = -(-settings.sample // settings.batch_size)
    epoch, place = divmod(step, in_epoch)
    # computed from the step alone, so that a resumed fit sees the same images
    order = np.random.default_rng((settings.seed, epoch)).permutation(settings.sample)
    some = order[place * settings.batch_size : (place + 1) * settings.batch_size]
    return [int(index) % count for index in some]


def draw_batch(
    images: TrainingImages, settings: FitSettings, step: int, share: slice = slice(None)
) -> Crops:
    """Cut the crops of a step, which depend only on the settings and the step.

    `share` selects those for this process.
    """
    # a generator per crop: neither threads nor the number of processes change the crops
    indices = list(enumerate(crop_indices(len(images), settings, step)))[share]
    crops = [
        _random_crop(images[index], settings, np.random.default_rng((settings.seed, step, place)))
        for place, index in indices
    ]
    if not crops:  # the last batch of an epoch may have fewer crops than processes
        return Crops(torch.empty(0, 3, settings.crop, settings.crop), None)
    return stack(crops)


def stack(crops: Sequence[tuple[Tensor, Tensor | None]]) -> Crops:
    """Stack crops, each (3, H, W) float32 and (H, W) uint8 or None, to one batch."""
    pixels, labels = zip(*crops, strict=True)
    return Crops(torch.stack(pixels), None if labels[0] is None else torch.stack(labels))


def centre_crop(image: TrainingImage, side: int) -> tuple[Tensor, Tensor | None]:
    """Cut out the centre of an image, (3, side, side) in [0, 1], with its labels."""
    height, width = image.image.shape[1:]
    return _cut(image, (height - side) // 2, (width - side) // 2, side)


def _random_crop(
    image: TrainingImage, settings: FitSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor | None]:
    side = settings.crop
    top, left = (int(rng.integers(length - side + 1)) for length in image.image.shape[1:])
    pixels, labels = _cut(image, top, left, side)
    # the published recipe: a random crop, mirrored half of the time, brighter or darker
    if rng.random() < 0.5:
        pixels, labels = pixels.flip(-1), None if labels is None else labels.flip(-1)
    factor = rng.uniform(1 - settings.brightness, 1 + settings.brightness)
    return (pixels * factor).clamp(0, 1), labels


def _cut(image: TrainingImage, top: int, left: int, side: int) -> tuple[Tensor, Tensor | None]:
    box = (..., slice(top, top + side), slice(left, left + side))
    return image.image[box] / 255, None if image.labels is None else image.labels[box]


def batches_ahead(make: Callable[[int], Crops], steps: range, threads: int = 2) -> Iterator[Crops]:
    """Make the batches of steps in threads, a few ahead, and yield them in order."""
    with ThreadPoolExecutor(threads, thread_name_prefix="crops") as pool:
        waiting = deque(pool.submit(make, step) for step in steps[:AHEAD])
        for step in range(steps.start, steps.stop):
            batch = waiting.popleft().result()
            if step + AHEAD < steps.stop:
                waiting.append(pool.submit(make, step + AHEAD))
            yield batch
