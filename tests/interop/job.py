"""A job whose images lie in several folders, and its masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoiser.batch import export
from dinoiser.export import read_mask
from tests.helpers.export_jobs import make_job, scene

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from tests.interop.readers import Labels, Reader

FOLDERS = ("", "a/", "a/b/", "c/")


def make_mixed_job(folder: Path, images: int = 32) -> Path:
    """Lay out a job of images of different sizes."""
    names = [f"{FOLDERS[i % len(FOLDERS)]}{i:02}.jpg" for i in range(images)]
    return make_job(folder, {name: scene(i % 4, (40 + i, 60)) for i, name in enumerate(names)})


def read_masks(job: Path) -> dict[str, np.ndarray]:
    """Read all masks, by the image's name without suffix."""
    files = sorted((job / "masks").rglob("*.png"))
    stems = {
        file: file.relative_to(job / "masks").as_posix().removesuffix(".png") for file in files
    }
    return {stem: read_mask(file) for file, stem in stems.items()}


def read_with(reader: Reader, job: Path) -> Labels:
    """Export what a program reads, and let it read."""
    export(job, reader.format.split(","), reader.options)
    return reader.read(job)
