"""Measure how far models agree on the same images and words."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dinoiser.errors import SettingsError
from dinoiser.images.reading import read_and_warn
from dinoiser.images.settings import AS_STORED
from dinoiser.labels import ignore_label
from dinoiser.models.load import load_model
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dinoiser.images.settings import ReadSettings
    from dinoiser.prompts import PromptSet


class Comparison(NamedTuple):
    """One image labelled by several models.

    Attributes
    ----------
    image
        (H, W, 3) uint8 RGB.
    labels
        Class ids (H, W) by model name, see `Segmentation`.
    """

    image: np.ndarray
    labels: dict[str, np.ndarray]

    @property
    def answers(self) -> np.ndarray:
        """Number of different classes given to each pixel, (H, W) uint8; 1 = models agree."""
        # in sorted order, each change is a further class
        ordered = np.sort(np.stack(list(self.labels.values())), axis=0)
        return (1 + (ordered[1:] != ordered[:-1]).sum(0)).astype(np.uint8)

    @property
    def agreement(self) -> float:
        """Share in [0, 1] of the pixels on which all models agree, without ignored ones."""
        return self._share(self.answers == 1)

    def pairs(self) -> dict[tuple[str, str], float]:
        """Share in [0, 1] of equal pixels for each pair of models."""
        return {
            (one, other): self._share(self.labels[one] == self.labels[other])
            for one, other in combinations(self.labels, 2)
        }

    def _share(self, same: np.ndarray) -> float:
        """Share in [0, 1] of the pixels that some model gives a class; 1 if there are none."""
        labelled = [labels != ignore_label(labels.dtype) for labels in self.labels.values()]
        known = same[np.logical_or.reduce(labelled)]
        return float(known.mean()) if known.size else 1.0


def compare_models(
    paths: Sequence[Path],
    prompts: PromptSet,
    models: Sequence[str],
    *,
    device: str = "auto",
    reading: ReadSettings = AS_STORED,
    progress: Callable[[str, int, int], None] | None = None,
    download_progress: Callable[[str, int, int], None] | None = None,
) -> list[Comparison]:
    """Label images with several models, keeping one model in memory at a time.

    Parameters
    ----------
    paths
        The images' files.
    prompts
        The classes to look for.
    models
        Two or more names from `dinoiser.list_models`.
    device
        See `dinoiser.load_model`.
    reading
        How the images' pixels are read.
    progress
        Called with a model's name, the number of images that it has labelled,
        and the total.
    download_progress
        See `dinoiser.load_model`.

    Raises
    ------
    SettingsError, ImageError, ModelError
        Fewer than two models are named, or one twice; an image cannot be
        read; a model cannot be loaded.
    """
    for name in models:
        if models.count(name) > 1:
            msg = f"The model {name} is named twice, expected at least two different ones."
            raise SettingsError(msg)
    if len(models) < 2:
        given = f"Only the model {models[0]} is named" if models else "No model is named"
        msg = f"{given}, expected at least two different ones."
        raise SettingsError(msg)
    images = [read_and_warn(path, reading) for path in paths]
    comparisons = [Comparison(image.rgb, {}) for image in images]
    for name in models:
        segmenter = Segmenter(load_model(name, device, progress=download_progress))
        for i, (image, comparison) in enumerate(zip(images, comparisons, strict=True), start=1):
            result = segmenter.segment(image.rgb, prompts).ignoring(image.missing)
            comparison.labels[name] = result.labels
            if progress:
                progress(name, i, len(images))
    return comparisons
