"""From pixels to labels: the single path of all images, whole or in parts, alone or with others.

    image --to_working_size--> pixels --cut--> windows --model--> patch features
          --score--> scores --lay_out--> probability map --refined--> the same, with edges
          --label--> labels, confidence

`Segmenter`, jobs, lazy arrays and large files all call these stages; they differ only in how much
of an image is in memory.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch

from dinoiser.errors import SettingsError
from dinoiser.models.text import PhraseEmbeddings
from dinoiser.segment.canvas import Canvas
from dinoiser.segment.cells import CellGrid, cell_colours
from dinoiser.segment.edges import EdgeMap
from dinoiser.segment.passes import Passes
from dinoiser.segment.phrase_map import PhraseMap
from dinoiser.segment.probability_map import ProbabilityMap, Tile
from dinoiser.segment.refine import refine_map
from dinoiser.segment.resize import resize
from dinoiser.segment.score_map import ScoreMap
from dinoiser.segment.scoring import score_patches
from dinoiser.segment.windows import WindowLayout
from dinoiser.segmentation import Segmentation
from dinoiser.weights.files import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from dinoiser.learning.learned import Learned
    from dinoiser.models.base import PatchFeatures, SegmentationModel
    from dinoiser.prompts import PromptSet
    from dinoiser.segment.probability_map import PixelMap
    from dinoiser.segment.settings import Refinement, SegmentSettings, WindowSettings


class Block(NamedTuple):
    """Neighbouring windows of the same size, and the pixels from which they are cut.

    Attributes
    ----------
    pixels
        (3, h, w) uint8, the image at its working size or a part of it.
    layout
        One of `WindowLayout.blocks`.
    top, left
        Where that part begins, in pixels of the working size.
    """

    pixels: Tensor
    layout: WindowLayout
    top: int = 0
    left: int = 0

    def cut(self) -> list[Tensor]:
        """Return the windows, (3, height, width) uint8 each, as views of the pixels."""
        return [
            self.pixels[:, *window.slices(self.top, self.left)] for window in self.layout.windows
        ]


def encode_windows(model: SegmentationModel, windows: Tensor) -> PatchFeatures:
    """Patch features of windows (B, 3, h, w) uint8, which may be on the CPU still."""
    # bytes go to the device, as they are a quarter of the numbers in [0, 1]
    return model.encode_image(windows.to(model.device).float() / 255)


@dataclass(frozen=True)
class Pipeline:
    """A model, how images are cut up for it, and the stages from pixels to labels.

    Attributes
    ----------
    model
        The model that encodes windows.
    windows
        How images are cut up.
    passes
        Decides how many windows go through the model at once.
    refine, delta
        See `SegmentSettings`.
    phrases
        The embeddings of the model's phrases.
    learned
        What corrected masks taught; None for the words alone.
    tower
        What encodes windows (3, h, w) uint8 of one size, in place of the model's
        `encode_image`, see `encode_windows`; None for that alone.
    """

    model: SegmentationModel
    windows: WindowSettings
    passes: Passes
    refine: Refinement
    delta: float
    phrases: PhraseEmbeddings
    learned: Learned | None = None
    tower: Callable[[Sequence[Tensor]], PatchFeatures] | None = None

    @classmethod
    def build(
        cls,
        model: SegmentationModel,
        settings: SegmentSettings,
        *,
        phrases: PhraseEmbeddings | None = None,
        learned: Learned | None = None,
        one_thread: bool = False,
    ) -> Self:
        """Combine a model and settings.

        Parameters
        ----------
        model, settings
            The model, and how to use it.
        phrases
            Known embeddings of phrases, from the same model.
        learned
            What corrected masks taught, with the same model.
        one_thread
            See `Passes`.

        Raises
        ------
        SettingsError
            The settings do not suit the model, or something else is given in place
            of the model or what was learnt, such as a name.
        """
        _expect("model", model, "encode_image", "dinoiser.load_model")
        if learned is not None:
            _expect("learned", learned, "shift_for", "dinoiser.Learned.load")
        return cls(
            model,
            settings.windows(model.windows),
            Passes(settings.batch_size, one_thread),
            settings.refine,
            settings.delta,
            phrases or PhraseEmbeddings(model, cache_dir() / "phrases"),
            learned,
        )

    @classmethod
    def expect(cls, given: object) -> Self:
        """Return a pipeline as it is, and refuse everything else, such as a segmenter.

        Raises
        ------
        SettingsError
            It is something else.
        """
        if isinstance(given, cls):
            return given
        msg = f"pipeline is a {type(given).__name__}, expected that of a Segmenter: its .pipeline"
        raise SettingsError(msg)

    def in_parts(self) -> Self:
        """Return the pipeline, if it can label an image in parts.

        Raises
        ------
        SettingsError
            The model needs whole images to turn patches into pixels.
        """
        if self._own_pixels:
            msg = (
                f"the model {self.model.name} refines an image as a whole, which is not possible "
                "in parts: use refine='none'."
            )
            raise SettingsError(msg)
        return self

    def segment(self, images: Sequence[np.ndarray], prompts: PromptSet) -> list[Segmentation]:
        """Label images (H, W, 3) uint8 RGB of any sizes, without keeping features."""
        layouts = [self.plan(image.shape[:2]) for image in images]
        blocks = [self.blocks(*pair) for pair in zip(images, layouts, strict=True)]
        scores = iter(self.score_blocks([block for some in blocks for block in some], prompts))
        return [
            self.decide(
                image,
                layout,
                torch.cat([next(scores) for _ in some]),
                prompts,
                self.colours(some),
            )
            for image, layout, some in zip(images, layouts, blocks, strict=True)
        ]

    # -- Pixels to windows

    def plan(self, size: tuple[int, int]) -> WindowLayout:
        """Lay windows over an image of size (H, W)."""
        return WindowLayout.plan(size, self.windows)

    def to_working_size(self, image: np.ndarray, layout: WindowLayout) -> Tensor:
        """Resize an image (H, W, 3) uint8 to its working size, (3, h, w)."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)  # from: rows, columns, channels
        return resize(pixels, layout.working_size, self.windows.antialias, self.windows.cubic)

    def blocks(self, image: np.ndarray, layout: WindowLayout) -> list[Block]:
        """Cut an image (H, W, 3) uint8 into blocks of windows."""
        pixels = self.to_working_size(image, layout)
        return [Block(pixels, block) for row in layout.blocks for block in row]

    # -- Windows to patch features

    def encode(self, blocks: Sequence[Block]) -> Iterator[PatchFeatures]:
        """Run the image tower on windows of the same size, pass by pass."""
        windows = [window for block in blocks for window in block.cut()]
        step = self.passes.windows(self.model, (windows[0].shape[1], windows[0].shape[2]))
        for start in range(0, len(windows), step):
            some = windows[start : start + step]
            if self.tower is None:
                yield encode_windows(self.model, torch.stack(some))
            else:
                yield self.tower(some)

    # -- Patch features to scores

    def embed(self, prompts: PromptSet) -> Tensor:
        """Embeddings (P, D) float32 of all phrases, in the order of the classes."""
        phrases = [phrase for c in prompts.classes for phrase in c.phrases]
        return self.phrases.get(phrases, prompts.templates)

    @torch.no_grad()
    def score(self, patches: PatchFeatures, prompts: PromptSet) -> Tensor:
        """Scores (B, K, h, w) or (B, P, h, w) float32 of patches, see `score_patches`.

        Channels are in the order of `prompts.classes`. The background filter is
        applied if the prompt set has a background and the model can tell it.
        """
        shift = None if self.learned is None else self.learned.shift_for(prompts, self.model)
        return score_patches(
            patches,
            self.embed(prompts),
            [len(c.phrases) for c in prompts.classes],
            self.model.scoring,
            has_background=prompts.background is not None,
            delta=self.delta,
            shift=None if shift is None else shift.to(patches.features.device),
        )

    def score_blocks(self, blocks: Sequence[Block], prompts: PromptSet) -> list[Tensor]:
        """Return the scores (n, K, h, w) of the windows of each block."""
        scores: dict[int, Tensor] = {}
        for numbers in self._in_common_passes(blocks):
            together = [blocks[i] for i in numbers]
            found = torch.cat([self.score(part, prompts) for part in self.encode(together)])
            counts = [len(block.layout.windows) for block in together]
            scores.update(zip(numbers, found.split(counts), strict=True))
        return [scores[i] for i in range(len(blocks))]

    def _in_common_passes(self, blocks: Sequence[Block]) -> list[list[int]]:
        """Group the blocks whose windows may share passes, by their numbers.

        If the result for a window may depend on others in its pass, each block
        stays separate: it then has the same passes, however much of the image
        is in memory.
        """
        if not self.passes.one_thread:
            return [[i] for i in range(len(blocks))]
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, block in enumerate(blocks):
            by_size[block.layout.window_size].append(i)
        return list(by_size.values())

    # -- Scores to pixels

    def lay_out(
        self, scores: Tensor, layout: WindowLayout, prompts: PromptSet | None = None
    ) -> ProbabilityMap:
        """Combine the scores (n, K, h, w) of all windows of a layout.

        Parameters
        ----------
        scores, layout
            The scores, and the windows.
        prompts
            The classes; None for classes of one phrase, none of which is the
            background.
        """
        if scores.device.type == "mps":  # which has no float64
            scores = scores.cpu()
        scoring = self.model.scoring
        patch_size = self.model.patch_size if self.windows.whole and scoring.padded else None
        found = self._map_type.from_windows(scores, layout, patch_size, scoring.spread)
        return self._with_rules(found, prompts)

    def join(
        self, mosaics: list[list[Tensor]], layout: WindowLayout, prompts: PromptSet
    ) -> ProbabilityMap:
        """Combine the mosaics of neighbouring blocks, see `ProbabilityMap`."""
        found = self._map_type.join(mosaics, layout, spread=self.model.scoring.spread)
        return self._with_rules(found, prompts)

    def _with_rules(self, found: ProbabilityMap, prompts: PromptSet | None) -> ProbabilityMap:
        """Tell a map that becomes probabilities at pixels how its method does that."""
        scoring = self.model.scoring
        if isinstance(found, ScoreMap):
            return replace(found, sharpness=scoring.sharpness)
        if not isinstance(found, PhraseMap):
            return found
        found = replace(found, temperature=scoring.temperature)
        if prompts is None:
            return found
        counts = tuple(len(c.phrases) for c in prompts.classes)
        least = scoring.least_background if prompts.background is not None else 0.0
        return replace(found, phrases_per_class=counts, least_background=least)

    def refined(
        self, probabilities: ProbabilityMap, image: np.ndarray, colours: Tensor | None
    ) -> PixelMap:
        """Turn patches into the pixels of an image (H, W, 3) uint8, as settings or model say.

        Parameters
        ----------
        probabilities
            The map.
        image
            The image.
        colours
            See `colours`.
        """
        layout = probabilities.layout
        if self.refine == "pamr":
            pixels = self.to_working_size(image, layout).float() / 255
            return refine_map(probabilities, pixels, self.model.scoring.dilations)
        if own := self._own_pixels:
            return own(probabilities, image)
        if colours is None:
            return probabilities
        return EdgeMap(probabilities, self.cells(layout), colours, image)

    def cells(self, layout: WindowLayout) -> CellGrid:
        """Lay the cells of the refinement over an image."""
        return CellGrid.over(layout, self.model.patch_size)

    def colours(self, blocks: Sequence[Block]) -> Tensor | None:
        """Colours of the cells of a whole image, see `cell_colours`; None without `EdgeMap`."""
        if self.refine != "edges" or self._own_pixels:
            return None
        block = blocks[0]  # each has all pixels
        return cell_colours(block.pixels, self.cells(block.layout).side)

    def decide(
        self,
        image: np.ndarray,
        layout: WindowLayout,
        scores: Tensor,
        prompts: PromptSet,
        colours: Tensor | None,
    ) -> Segmentation:
        """Label an image (H, W, 3) from the scores (n, K, h, w) of its windows.

        Parameters
        ----------
        image, layout, scores, prompts
            The image, its windows, their scores, and the classes.
        colours
            See `colours`.
        """
        refined = self.refined(self.lay_out(scores, layout, prompts), image, colours)
        return Segmentation(
            *self.label(refined, prompts, Tile.whole(layout.size)), prompts, refined
        )

    @torch.no_grad()
    def label(
        self, probabilities: PixelMap, prompts: PromptSet, within: Tile
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label a part of an image.

        Parameters
        ----------
        probabilities
            From `refined`.
        prompts
            The classes of the map.
        within
            The part.

        Returns
        -------
        labels, confidence
            (rows, columns), labels and float16, see `Segmentation`.
        """
        ids = np.array([c.id for c in prompts.classes], prompts.label_type)
        canvas = Canvas.blank(within, ids, probabilities.device)
        probabilities.decide(canvas)
        labels, confidence = canvas.arrays()
        if prompts.ignore_below > 0:
            labels[confidence < prompts.ignore_below] = prompts.ignore
        return labels, confidence

    @property
    def _own_pixels(self) -> Callable[[ProbabilityMap, np.ndarray], PixelMap] | None:
        """What the model brings in place of the edges, where these are asked for."""
        return self.model.to_pixels if self.refine == "edges" else None

    @property
    def _map_type(self) -> type[ProbabilityMap]:
        """The class that turns scores into pixels."""
        types = {"probabilities": ProbabilityMap, "phrases": PhraseMap}
        return types.get(self.model.scoring.enlarged, ScoreMap)


def _expect(what: str, given: object, method: str, load: str) -> None:
    if isinstance(given, str | PathLike):
        name = str(given)
        msg = f"{what} is the name {name!r}, expected what it names, such as {load}({name!r})."
        raise SettingsError(msg)
    if not hasattr(given, method):
        msg = f"{what} is a {type(given).__name__}, expected what {load} returns."
        raise SettingsError(msg)
