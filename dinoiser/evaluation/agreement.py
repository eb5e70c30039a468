"""Measure how far models agree on the same images and words."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dinoiser.errors import SettingsError
from dinoiser.images import read_image
from dinoiser.models.load import load_model
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dinoiser.prompts import PromptSet


class Comparison(NamedTuple):
    """One image labelled by several models.

    Attributes
    ----------
    image
        (H, W, 3) uint8 RGB.
    labels
        Class ids (H, W) uint8 by model name.
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
        """Share in [0, 1] of the pixels on which all models agree."""
        return float((self.answers == 1).mean())

    def pairs(self) -> dict[tuple[str, str], float]:
        """Share in [0, 1] of equal pixels for each pair of models."""
        return {
            (one, other): float((self.labels[one] == self.labels[other]).mean())
            for one, other in combinations(self.labels, 2)
        }


def compare_models(
    paths: Sequence[Path],
    prompts: PromptSet,
    models: Sequence[str],
    *,
    device: str = "auto",
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
    comparisons = [Comparison(read_image(path), {}) for path in paths]
    for name in models:
        segmenter = Segmenter(load_model(name, device, progress=download_progress))
        for i, comparison in enumerate(comparisons, start=1):
            comparison.labels[name] = segmenter.segment(comparison.image, prompts).labels
            if progress:
                progress(name, i, len(comparisons))
    return comparisons
