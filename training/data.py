"""From a folder to images to learn from and images to check with."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import ImageError, InputError
from dinoiser.images.inputs import find_images
from dinoiser.weights.digests import digest

from .images import FileImages, TrainingImage, TrainingImages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .settings import FitSettings

HELD_OUT_SHARE = 0.05
HELD_OUT = (2, 32)
"""Least and most images that are kept back to check the heads with."""
FEWEST = 10
FEW = 200
"""Fewer images than this work, but make heads that fit these images and few others."""
READERS = 4


@dataclass(frozen=True)
class Subset:
    """Some images of a collection."""

    images: TrainingImages
    indices: Sequence[int]

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.indices)

    def __getitem__(self, index: int) -> TrainingImage:
        """Return one of them."""
        return self.images[self.indices[index]]


@dataclass(frozen=True)
class FitData:
    """What heads are fitted to and checked with.

    Attributes
    ----------
    training, held_out
        Images; no image is in both.
    digest
        SHA-256 over the content of them all, or whatever else decides the images.
    unreadable
        Why files were left out, by their names.
    """

    training: TrainingImages
    held_out: TrainingImages
    digest: str
    unreadable: dict[str, str] = field(default_factory=dict)


def read_folder(
    paths: Sequence[str | Path],
    settings: FitSettings,
    segments: Callable | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FitData:
    """Choose images of files and folders, read each once, and keep some back.

    Parameters
    ----------
    paths
        Files, folders with all their subfolders, and globs.
    settings
        `sample` is how many images are used at most, `crop` their shorter side.
    segments
        See `Teacher.segments`.
    progress
        Called with the images read and those to read.

    Raises
    ------
    InputError
        There are no images, or fewer than `FEWEST` can be read.
    """
    files = find_images(list(paths))
    order = np.random.default_rng(settings.seed).permutation(len(files))
    chosen = [files[i] for i in order[: settings.sample + HELD_OUT[1]]]
    images = FileImages([file.path for file in chosen], settings.crop, segments)
    readable, unreadable = [], {}
    with ThreadPoolExecutor(READERS) as pool:
        for done, problem in enumerate(pool.map(lambda i: _problem(images, i), range(len(chosen)))):
            if problem is None:
                readable.append(done)
            else:
                unreadable[chosen[done].name] = problem
            if progress is not None:
                progress(done + 1, len(chosen))
    _check_enough(len(readable), unreadable)
    least, most = HELD_OUT
    kept_back = min(max(round(HELD_OUT_SHARE * len(readable)), least), most)
    used = readable[: kept_back + settings.sample]
    contents = "".join(digest(chosen[i].path) for i in used)
    return FitData(
        Subset(images, used[kept_back:]),
        Subset(images, used[:kept_back]),
        hashlib.sha256(contents.encode()).hexdigest(),
        unreadable,
    )


def _problem(images: FileImages, index: int) -> str | None:
    """Say why an image cannot be read; None where it can."""
    try:
        _ = images[index]
    except ImageError as error:
        return str(error)
    return None


def _check_enough(count: int, unreadable: dict[str, str]) -> None:
    if count >= FEWEST:
        return
    reason = next(iter(unreadable.values()), "")
    hint = f", {len(unreadable)} more cannot be read ({reason})" if unreadable else ""
    msg = (
        f"There are {count} images to learn from{hint}; at least {FEWEST} are needed, and some "
        "hundreds are better: give more files or folders."
    )
    raise InputError(msg)
