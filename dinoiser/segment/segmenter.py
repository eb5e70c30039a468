"""The Segmenter: from images and prompt sets to segmentations."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dinoiser.errors import SettingsError
from dinoiser.images import to_rgb
from dinoiser.images.arrays import as_array
from dinoiser.models.base import PatchFeatures
from dinoiser.models.device import own_torch
from dinoiser.prompts import PromptSet
from dinoiser.segment.encoded_image import EncodedImage
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from dinoiser.learning.learned import Learned
    from dinoiser.models.base import SegmentationModel
    from dinoiser.models.text import PhraseEmbeddings
    from dinoiser.segmentation import Segmentation


class Segmenter:
    """Segments images with one model.

    Parameters
    ----------
    model
        A model from `dinoiser.load_model`.
    settings
        How images are scaled, cut into windows and labelled; alternatively,
        give its fields as keywords.
    phrases
        Known embeddings, from ``other.pipeline.phrases`` of another segmenter
        with the same model.
    learned
        What corrected masks taught, from `dinoiser.learn` or `Learned.load`.
    **keywords
        Fields of `SegmentSettings`, such as ``short_side=896``.

    Attributes
    ----------
    pipeline
        The stages from pixels to labels.

    Raises
    ------
    SettingsError
        A setting is unknown or out of range.
    """

    def __init__(
        self,
        model: SegmentationModel,
        settings: SegmentSettings | None = None,
        *,
        phrases: PhraseEmbeddings | None = None,
        learned: Learned | None = None,
        **keywords: Any,
    ) -> None:
        if settings is not None and keywords:
            msg = f"give either settings or keywords such as {next(iter(keywords))}, not both."
            raise SettingsError(msg)
        if settings is None:
            settings = SegmentSettings.of(**keywords)
        self.pipeline = Pipeline.build(
            model, SegmentSettings.expect(settings), phrases=phrases, learned=learned
        )

    def __repr__(self) -> str:
        pipeline = self.pipeline
        return f"Segmenter({pipeline.model.name!r}, {pipeline.windows}, refine={pipeline.refine!r})"

    @own_torch()
    def encode(
        self,
        image: ArrayLike | Image.Image,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> EncodedImage:
        """Run the image tower, the expensive part, which is needed once per image.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, or anything that `dinoiser.images.to_rgb`
            accepts.
        progress
            Called with the number of windows done and the total.
        cancelled
            Called between batches of windows; True stops.

        Raises
        ------
        CancelledError
            If `cancelled` returned True.
        """
        image = _as_rgb(image)
        layout = self.pipeline.plan(image.shape[:2])
        passes: list[PatchFeatures] = []
        done, total = 0, len(layout.windows)
        blocks = self.pipeline.blocks(image, layout)
        for block in blocks:
            for patches in self.pipeline.encode([block]):
                passes.append(patches)
                done += len(patches.features)
                if progress:
                    progress(done, total)
                if cancelled and cancelled():
                    raise CancelledError
        patches, colours = PatchFeatures.cat(passes), self.pipeline.colours(blocks)
        return EncodedImage(self.pipeline, image, layout, patches, colours)

    @own_torch()
    def segment(self, image: ArrayLike | Image.Image, prompts: PromptSet) -> Segmentation:
        """Encode an image and segment it, without keeping its features.

        Parameters
        ----------
        image
            See `encode`.
        prompts
            The classes to look for.

        Raises
        ------
        ImageError
            The image cannot be read without guessing.
        PromptError
            The classes are no `PromptSet`.
        """
        prompts = PromptSet.expect(prompts)
        [result] = self.pipeline.segment([_as_rgb(image)], prompts)
        return result


def _as_rgb(image: ArrayLike | Image.Image) -> np.ndarray:
    """Convert with `to_rgb`, to which (H, W, 3) uint8 is no riddle here, however small."""
    if isinstance(image, Image.Image):  # its mode says what its numbers mean
        return to_rgb(image)
    array = as_array(image)
    is_rgb = array.dtype == np.uint8 and array.ndim == 3 and array.shape[-1] == 3
    return to_rgb(array, channel_axis=-1 if is_rgb else None)
