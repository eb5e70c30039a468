"""From windows of cosines to pixels, with the softmax over phrases taken at the image's pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dinoiser.segment.interpolation import number_type, to_steps
from dinoiser.segment.probability_map import ProbabilityMap, Tile
from dinoiser.segment.score_map import SoftmaxMap
from dinoiser.segment.scoring import phrase_probabilities

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PhraseMap(SoftmaxMap):
    """Cosines of phrases at patch resolution, turned into probabilities at each pixel.

    Attributes
    ----------
    mosaic
        See `ProbabilityMap`, but (P, h, w) cosines of phrases, with the phrases
        of a class next to each other.
    temperature
        Factor applied to the cosines.
    phrases_per_class
        K counts that sum to P; None for one phrase per class.
    least_background
        See `Scoring`; 0 if the first class is not the background.

    Notes
    -----
    Cosines become pixels of the image as probabilities do in `ProbabilityMap`.
    There, a softmax is taken over phrases; a class has the probability of its
    best phrase, divided by the sum over classes. Where no class had
    `least_background` before the division, the background gets that much. It is
    the order of NACLIP's published code.
    """

    temperature: float = 1.0
    phrases_per_class: tuple[int, ...] | None = None
    least_background: float = 0.0

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return len(self.phrases_per_class or self.mosaic)

    def pixels(self, tile: Tile) -> Tensor:
        """Probabilities (K, rows, columns) float32 of one tile, or of every n-th place in it."""
        cosines = super().pixels(tile).to(number_type(self.mosaic.device))
        probabilities = phrase_probabilities(
            cosines, self.temperature, self.phrases_per_class, self.least_background
        )
        # rounded, as exponentials leave other last bits in other tiles
        return self._choose(to_steps(probabilities).float())

    def to_refine(self) -> ProbabilityMap:
        """Return the map of cosines, at the size of the image."""
        return ProbabilityMap(self.mosaic, self.layout, self.patch_size, self.spread)

    def with_pixels(self, refined: Tensor) -> PhraseMap:
        """Return the map of cosines (P, H, W) of all pixels."""
        cosines = ProbabilityMap.of_pixels(refined, self.layout)
        return replace(self, mosaic=cosines.mosaic, layout=cosines.layout, patch_size=None)
