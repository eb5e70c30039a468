"""From windows of cosines to pixels, with the softmax over phrases taken at the image's pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dinoiser.segment.interpolation import number_type, to_steps
from dinoiser.segment.probability_map import ProbabilityMap, Tile
from dinoiser.segment.scoring import phrase_probabilities

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PhraseMap(ProbabilityMap):
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
    chosen
        The classes to return; None for all. The others still take part.

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
    chosen: tuple[int, ...] | None = None

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return len(self.phrases_per_class or self.mosaic)

    def select(self, channels: list[int]) -> PhraseMap:
        """Return the map of some classes only."""
        return replace(self, chosen=tuple(channels))

    def winners(self, tile: Tile | None = None) -> list[int]:
        """Return all classes, as patches alone do not tell which can be the highest."""
        return list(range(self.class_count))

    def pixels(self, tile: Tile) -> Tensor:
        """Probabilities (K, rows, columns) float32 of one tile, or of every n-th place in it."""
        cosines = super().pixels(tile).to(number_type(self.mosaic.device))
        probabilities = phrase_probabilities(
            cosines, self.temperature, self.phrases_per_class, self.least_background
        )
        # rounded, as exponentials leave other last bits in other tiles
        rounded = to_steps(probabilities).float()
        return rounded if self.chosen is None else rounded[list(self.chosen)]

    def to_refine(self) -> ProbabilityMap:
        """Return the map of cosines, at the size of the image."""
        return ProbabilityMap(self.mosaic, self.layout, self.patch_size, self.spread)

    def with_pixels(self, refined: Tensor) -> PhraseMap:
        """Return the map of cosines (P, H, W) of all pixels."""
        cosines = ProbabilityMap.of_pixels(refined, self.layout)
        return replace(self, mosaic=cosines.mosaic, layout=cosines.layout, patch_size=None)
