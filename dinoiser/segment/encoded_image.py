"""An image that the image tower has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from dinoiser.models.base import PatchFeatures
    from dinoiser.prompts import PromptSet
    from dinoiser.segment.pipeline import Pipeline
    from dinoiser.segment.windows import WindowLayout
    from dinoiser.segmentation import Segmentation


@dataclass(frozen=True)
class EncodedImage:
    """An image whose patch features are known: segment it again and again with other words.

    Attributes
    ----------
    pipeline
        What encoded it, and labels it.
    image
        (H, W, 3) uint8 RGB.
    layout
        Its windows.
    patches
        Features of all windows, (n, D, h, w), and objectness (n, h, w).
    """

    pipeline: Pipeline
    image: np.ndarray
    layout: WindowLayout
    patches: PatchFeatures

    def segment(self, prompts: PromptSet) -> Segmentation:
        """Segment with these classes; the image tower is not run."""
        scores = self.pipeline.score(self.patches, prompts)
        return self.pipeline.decide(self.image, self.layout, scores, prompts)
