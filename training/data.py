"""From a folder to pictures to learn from and pictures to check with."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import ImageError, InputError
from dinoiser.images.inputs import find_images
from dinoiser.weights.digests import digest

from .pictures import FilePictures, Picture, Pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .settings import FitSettings

HELD_OUT_SHARE = 0.05
HELD_OUT = (2, 32)
"""Least and most pictures that are kept back to check the heads with."""
FEWEST = 10
FEW = 200
"""Fewer pictures than this work, but make heads that fit these pictures and few others."""
READERS = 4


@dataclass(frozen=True)
class Part:
    """Some pictures of a collection."""

    pictures: Pictures
    indices: Sequence[int]

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Picture:
        """Return one of them."""
        return self.pictures[self.indices[index]]


@dataclass(frozen=True)
class FitData:
    """What heads are fitted to and checked with.

    Attributes
    ----------
    training, held_out
        Pictures; no picture is in both.
    digest
        SHA-256 over the content of them all, or whatever else decides the pictures.
    unreadable
        Why files were left out, by their names.
    """

    training: Pictures
    held_out: Pictures
    digest: str
    unreadable: dict[str, str] = field(default_factory=dict)


def read_folder(
    paths: Sequence[str | Path],
    settings: FitSettings,
    segments: Callable | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FitData:
    """Choose pictures of files and folders, read each once, and keep some back.

    Parameters
    ----------
    paths
        Files, folders with all their subfolders, and globs.
    settings
        `sample` is how many pictures are used at most, `crop` their shorter side.
    segments
        See `Teacher.segments`.
    progress
        Called with the pictures read and those to read.

    Raises
    ------
    InputError
        There are no pictures, or fewer than `FEWEST` can be read.
    """
    files = find_images(list(paths))
    order = np.random.default_rng(settings.seed).permutation(len(files))
    chosen = [files[i] for i in order[: settings.sample + HELD_OUT[1]]]
    pictures = FilePictures([file.path for file in chosen], settings.crop, segments)
    readable, unreadable = [], {}
    with ThreadPoolExecutor(READERS) as pool:
        for done, problem in enumerate(
            pool.map(lambda i: _problem(pictures, i), range(len(chosen)))
        ):
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
        Part(pictures, used[kept_back:]),
        Part(pictures, used[:kept_back]),
        hashlib.sha256(contents.encode()).hexdigest(),
        unreadable,
    )


def _problem(pictures: FilePictures, index: int) -> str | None:
    """Say why a picture cannot be read; None where it can."""
    try:
        _ = pictures[index]
    except ImageError as error:
        return str(error)
    return None


def _check_enough(count: int, unreadable: dict[str, str]) -> None:
    if count >= FEWEST:
        return
    reason = next(iter(unreadable.values()), "")
    hint = f", {len(unreadable)} more cannot be read ({reason})" if unreadable else ""
    msg = (
        f"There are {count} pictures to learn from{hint}; at least {FEWEST} are needed, and some "
        "hundreds are better: give more files or folders."
    )
    raise InputError(msg)
