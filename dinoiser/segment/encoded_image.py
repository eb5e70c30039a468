"""An image after the image tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dinoiser.models.device import own_torch
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dinoiser.models.base import PatchFeatures
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segment.windows import WindowLayout
    from dinoiser.segmentation import Segmentation


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image with its patch features, to segment repeatedly with different words.

    Attributes
    ----------
    pipeline
        The pipeline that encoded it, and labels it.
    image
        (H, W, 3) uint8 RGB.
    layout
        Its windows.
    patches
        Features of all windows, (n, D, h, w), and objectness (n, h, w).
    colours
        See `Pipeline.colours`.
    """

    pipeline: Pipeline
    image: np.ndarray
    layout: WindowLayout
    patches: PatchFeatures
    colours: Tensor | None = None

    def __repr__(self) -> str:
        height, width = self.layout.size
        windows, model = len(self.layout.windows), self.pipeline.model.name
        return f"EncodedImage({height} x {width} pixels, {windows} windows, model {model!r})"

    @own_torch()
    def segment(self, prompts: PromptSet) -> Segmentation:
        """Segment with these classes, without running the image tower."""
        scores = self.pipeline.score(self.patches, PromptSet.expect(prompts))
        return self.pipeline.decide(self.image, self.layout, scores, prompts, self.colours)
