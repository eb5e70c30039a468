"""A model for FiftyOne's `Dataset.apply_model`: masks for words. Needs the extra `fiftyone`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone import Segmentation
from fiftyone.core.models import Model

from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    import numpy as np


class WordModel(Model):
    """Labels images with words.

    Parameters
    ----------
    words
        Classes as after `dinoiser label -p`.
    model, device
        See `dinoiser.load_model`.

    Attributes
    ----------
    mask_targets
        Name of each label, for `dataset.default_mask_targets`.

    Raises
    ------
    PromptError, ModelError
        The words are wrong, or the model cannot be loaded.
    """

    media_type = "image"
    ragged_batches = True  # images differ in size
    transforms = None
    preprocess = False

    def __init__(self, words: str, model: str = "clip-dinoiser", device: str = "auto") -> None:
        self._prompts = PromptSet.parse(words)
        self._segmenter = Segmenter(load_model(model, device=device))
        self.mask_targets = {item.id: item.name for item in self._prompts.classes}

    def predict(self, arg: np.ndarray) -> Segmentation:
        """Label an image, (H, W, 3) uint8 RGB; the mask is (H, W) class ids."""
        return Segmentation(mask=self._segmenter.segment(arg, self._prompts).labels)
