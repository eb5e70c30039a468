"""Choose images to learn from and images to validate with."""

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

HELD_OUT_SHARE = 0.05  # of the images; limited by the next line
HELD_OUT = (2, 32)
"""Minimum and maximum number of images held out for validation."""
FEWEST = 10  # images that a fit needs
FEW = 200
"""With fewer images than this, heads may fit only these images."""
READERS = 4  # threads


@dataclass(frozen=True)
class Subset:
    """A subset of a collection of images."""

    images: TrainingImages
    indices: Sequence[int]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def __getitem__(self, index: int) -> TrainingImage:
        """Return an image."""
        return self.images[self.indices[index]]


@dataclass(frozen=True)
class FitData:
    """Images to fit heads to and to validate them with.

    Attributes
    ----------
    training, held_out
        Two collections of images without overlap.
    digest
        SHA-256 over the content of all images, or another description of them.
    unreadable
        Reasons for leaving out files, by file name.
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
    """Choose images from files and folders, read each once, and hold out some.

    Parameters
    ----------
    paths
        Files, folders (searched recursively) and globs.
    settings
        `sample` is the maximum number of images, `crop` their shorter side.
    segments
        See `Teacher.segments`.
    progress
        Called with the number of images read and the total.

    Raises
    ------
    InputError
        There are no images, or fewer than `FEWEST` can be read.
    """
    files = find_images(list(paths))
    # a random choice that depends only on the seed and the files
    order = np.random.default_rng(settings.seed).permutation(len(files))
    chosen = [files[i] for i in order[: settings.sample + HELD_OUT[1]]]
    images = FileImages([file.path for file in chosen], settings.crop, segments)
    # every image is read once now, so that a damaged one does not stop the fit later
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
    # the first readable images are held out, the next ones are learned from
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
    """Say why an image cannot be read; None if it can."""
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
        f"There are {count} images to learn from{hint}; at least {FEWEST} are needed, and a few "
        "hundred are better: give more files or folders."
    )
    raise InputError(msg)
