"""Choose images to learn from and images to validate with."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError
from dinoiser.images.inputs import find_images
from dinoiser.images.settings import AS_STORED
from dinoiser.weights.digests import digest

from .images import FileImages, TrainingImage, TrainingImages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dinoiser.images.settings import ReadSettings

    from .settings import FitSettings

HELD_OUT_SHARE = 0.05  # of the images; limited by the next line
HELD_OUT = (8, 100)
"""Minimum and maximum number of images held out for validation."""
FOLDED = 40
"""With fewer images than this, each is held out from one of several fits instead."""
FOLDS = 4
FEWEST = 10  # unlabelled images that a fit needs
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
        Two collections of images without overlap; of few images, none are held out.
    digest
        SHA-256 over the content of all images, or another description of them.
    unreadable
        Reasons for leaving out files, by file name.
    """

    training: TrainingImages
    held_out: TrainingImages
    digest: str
    unreadable: dict[str, str] = field(default_factory=dict)

    def folds(self) -> list[FitData]:
        """Return the parts to fit to and to judge on, each in its turn.

        If images are held out, there is one part; otherwise there are `FOLDS`, and each image is
        held out in one of them.
        """
        if len(self.held_out):
            return [self]
        numbers = range(len(self.training))
        splits = [
            ([i for i in numbers if i % FOLDS != fold], numbers[fold::FOLDS])
            for fold in range(FOLDS)
        ]
        return [
            replace(
                self, training=Subset(self.training, some), held_out=Subset(self.training, rest)
            )
            for some, rest in splits
        ]


def read_folder(
    paths: Sequence[str | Path],
    settings: FitSettings,
    segments: Callable | None = None,
    progress: Callable[[int, int], None] | None = None,
    reading: ReadSettings = AS_STORED,
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
    reading
        How their pixels are read.

    Raises
    ------
    InputError
        There are no images, or fewer than `FEWEST` can be read.
    """
    files = find_images(list(paths))
    # a random choice that depends only on the seed and the files
    order = np.random.default_rng(settings.seed).permutation(len(files))
    chosen = [files[i] for i in order[: settings.sample + HELD_OUT[1]]]
    places = [file.path for file in chosen]
    names = [file.name for file in chosen]
    images = FileImages(places, settings.crop, segments, names, reading)
    return share_out(images, [[place] for place in places], settings, FEWEST, progress)


def share_out(
    images: FileImages,
    files: Sequence[Sequence[Path]],
    settings: FitSettings,
    fewest: int,
    progress: Callable[[int, int], None] | None = None,
) -> FitData:
    """Read each image once, and hold out some.

    Parameters
    ----------
    images
        The images.
    files
        The files that each is made of.
    settings
        `sample` is the maximum number of images to learn from.
    fewest
        Number of readable images that are needed.
    progress
        Called with the number of images read and the total.

    Raises
    ------
    InputError
        Fewer can be read.
    """
    # every image is read once now, so that a damaged one does not stop the fit later
    readable, unreadable = [], {}
    with ThreadPoolExecutor(READERS) as pool:
        problems = pool.map(lambda i: _problem(images, i), range(len(images)))
        for number, problem in enumerate(problems):
            if problem is None:
                readable.append(number)
            else:
                unreadable[images.names[number]] = problem
            if progress is not None:
                progress(number + 1, len(images))
    _check_enough(len(readable), unreadable, fewest)
    # the first readable images are held out, the next ones are learned from
    least, most = HELD_OUT
    share = min(max(math.ceil(HELD_OUT_SHARE * len(readable)), least), most)
    kept_back = share if len(readable) >= FOLDED else 0
    used = readable[: kept_back + settings.sample]
    contents = "".join(digest(path) for i in used for path in files[i])
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
    except InputError as error:
        return str(error)
    return None


def _check_enough(count: int, unreadable: dict[str, str], fewest: int) -> None:
    if count >= fewest:
        return
    found = f"There {'is 1 image' if count == 1 else f'are {count} images'} to learn from"
    if not unreadable:
        msg = (
            f"{found}; at least {fewest} are needed, and a few hundred are better: give more files "
            "or folders."
        )
        raise InputError(msg)
    reason = next(iter(unreadable.values()))
    msg = (
        f"{found}, {len(unreadable)} more cannot be read ({reason}); at least {fewest} are needed: "
        "mend these, or add others."
    )
    raise InputError(msg)
