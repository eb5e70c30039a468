"""Segmenter: images and prompt sets to segmentations."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from dinoiser.errors import SettingsError
from dinoiser.images import to_rgb
from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.text import PhraseEmbeddings
from dinoiser.segment.encoded_image import EncodedImage
from dinoiser.segment.probability_map import TILE_WIDTH, ProbabilityMap, Tile
from dinoiser.segment.refine import snap_to_superpixels
from dinoiser.segment.resize import resize
from dinoiser.segment.score_map import ScoreMap
from dinoiser.segment.scoring import score_patches
from dinoiser.segment.windows import WindowLayout, WindowSettings, cut, windows_at_once
from dinoiser.segmentation import IGNORE, Segmentation
from dinoiser.weights.files import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike
    from torch import Tensor

    from dinoiser.models.base import SegmentationModel
    from dinoiser.prompts import PromptSet


class Segmenter:
    """Segments images with one model.

    Parameters
    ----------
    model
        What `dinoiser.load_model` gives.
    short_side, window, stride
        The paper's protocol, see `WindowSettings`; None takes the sizes that
        the model was made for.
    whole
        One pass over the whole image at its own size instead of windows.
    antialias
        Smooth when an image is shrunk to `short_side`.
    refine
        "superpixel" snaps the labels to the image's edges, "none" does not.
    batch_size
        Windows in one pass; "auto" fits them to the device.
    delta
        Confidence from which a patch is safe from the background filter; the
        paper's value is 0.99, and 0 switches the filter off (for Talk2DINO the
        cleaning of its background).

    Raises
    ------
    SettingsError
        A setting is out of its range.
    """

    def __init__(
        self,
        model: SegmentationModel,
        *,
        short_side: int | None = None,
        window: int | None = None,
        stride: int | None = None,
        whole: bool = False,
        antialias: bool = True,
        refine: Literal["none", "superpixel"] = "none",
        batch_size: int | Literal["auto"] = "auto",
        delta: float = 0.99,
    ) -> None:
        if refine not in ("none", "superpixel"):
            msg = f"refine is {refine!r}, expected 'none' or 'superpixel'."
            raise SettingsError(msg)
        if batch_size != "auto" and batch_size < 1:
            msg = f"batch_size is {batch_size}, expected 'auto' or at least 1."
            raise SettingsError(msg)
        sizes = model.windows
        window = window or sizes.window
        self.model = model
        self.scoring: Scoring = getattr(model, "scoring", Scoring())
        self.windows = WindowSettings(
            short_side=sizes.short_side if short_side is None else short_side,
            window=window,
            stride=min(sizes.stride, window) if stride is None else stride,
            whole=whole,
            antialias=antialias,
            cubic=sizes.cubic,
        )
        self.refine = refine
        self.batch_size = batch_size
        self.delta = delta
        self.phrases = PhraseEmbeddings(model, cache_dir() / "phrases")

    def encode(
        self,
        image: ArrayLike,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> EncodedImage:
        """Run the image tower: the expensive part, once an image.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, or anything that `dinoiser.images.to_rgb`
            takes.
        progress
            Called with the number of windows that are done, and of all.
        cancelled
            Asked between batches of windows.

        Raises
        ------
        CancelledError
            If `cancelled` said so.
        """
        image = _as_rgb(image)
        layout = WindowLayout.plan(image.shape[:2], self.windows)
        batches: list[PatchFeatures] = []
        done, total = 0, len(layout.windows)
        for batch in self._encode_windows(image, layout):
            batches.append(batch)
            done += len(batch.features)
            if progress:
                progress(done, total)
            if cancelled and cancelled():
                raise CancelledError
        return EncodedImage(self, image, layout, PatchFeatures.cat(batches))

    def segment(self, image: ArrayLike, prompts: PromptSet) -> Segmentation:
        """Encode an image and segment it, without keeping its features.

        Parameters
        ----------
        image
            See `encode`.
        prompts
            The classes to tell apart.
        """
        image = _as_rgb(image)
        layout = WindowLayout.plan(image.shape[:2], self.windows)
        scores = [self.score(batch, prompts) for batch in self._encode_windows(image, layout)]
        return self.decide(image, layout, torch.cat(scores), prompts)

    def embed(self, prompts: PromptSet) -> Tensor:
        """Embeddings (P, D) float32 of all phrases, in the order of the classes."""
        phrases = [phrase for c in prompts.classes for phrase in c.phrases]
        return self.phrases.get(phrases, prompts.templates)

    @torch.no_grad()
    def score(self, patches: PatchFeatures, prompts: PromptSet) -> Tensor:
        """Scores (B, K, h, w) float32 of patches, see `score_patches`.

        Channels are in the order of `prompts.classes`. The background filter
        has run where the prompt set has a background and the model a way to
        tell it.
        """
        return score_patches(
            patches,
            self.embed(prompts),
            [len(c.phrases) for c in prompts.classes],
            self.scoring,
            has_background=prompts.background is not None,
            delta=self.delta,
        )

    def encode_block(
        self, pixels: Tensor, block: WindowLayout, top: int = 0, left: int = 0
    ) -> Iterator[PatchFeatures]:
        """Run the image tower over the windows of one block, a batch at a time.

        Parameters
        ----------
        pixels
            (3, h, w) uint8, the image at its working size or a part of it
            that holds the block.
        block
            One of `WindowLayout.blocks`.
        top, left
            Where the part begins, in pixels of the working size.
        """
        windows = block.windows
        size = (windows[0].bottom - windows[0].top, windows[0].right - windows[0].left)
        step = windows_at_once(self.model, size) if self.batch_size == "auto" else self.batch_size
        for i in range(0, len(windows), step):
            batch = cut(pixels, windows[i : i + step], top, left)
            yield self.model.encode_image(batch.to(self.model.device))

    @torch.no_grad()
    def label(
        self,
        probabilities: ProbabilityMap,
        prompts: PromptSet,
        within: Tile,
        image: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label a part of an image.

        Parameters
        ----------
        probabilities
            Those of all windows, or at least of those that reach into the part.
        prompts
            What they were scored against.
        within
            The part; with superpixels it has to begin at a multiple of
            `TILE_WIDTH`, and to end at one or at the image's edge.
        image
            (rows, columns, 3) uint8, the part's pixels; only superpixels need
            them.

        Returns
        -------
        labels, confidence
            (rows, columns) uint8 and float16, see `Segmentation`.
        """
        labels = np.empty(within.size, np.uint8)
        confidence = np.empty(within.size, np.float16)
        channels = probabilities.winners()
        ids = torch.tensor([prompts.classes[channel].id for channel in channels])
        ids = ids.to(probabilities.mosaic.device, torch.uint8)
        height = TILE_WIDTH if self.refine == "superpixel" else None
        for tile, pixels in probabilities.select(channels).tiles(height, within):
            part = tile.inside(within)
            if self.refine == "superpixel" and image is not None:
                side = self._superpixel_side(probabilities.layout)
                snapped = snap_to_superpixels(pixels.cpu().numpy(), image[part], side)
                pixels = torch.from_numpy(snapped).to(ids.device)
            best, winner = pixels.max(0)
            labels[part] = ids[winner].cpu().numpy()
            confidence[part] = best.clamp(max=1).cpu().numpy()
        if prompts.ignore_below > 0:
            labels[confidence < prompts.ignore_below] = IGNORE
        return labels, confidence

    @property
    def map_type(self) -> type[ProbabilityMap]:
        """What becomes of scores on the way to pixels."""
        return ProbabilityMap if self.scoring.enlarged == "probabilities" else ScoreMap

    def lay_out(self, scores: Tensor, layout: WindowLayout) -> ProbabilityMap:
        """Put the scores (n, K, h, w) of all windows together."""
        patch_size = self.model.patch_size if self.windows.whole and self.scoring.padded else None
        if scores.device.type == "mps":  # which has no float64
            scores = scores.cpu()
        return self.map_type.from_windows(scores, layout, patch_size, self.scoring.spread)

    def decide(
        self, image: np.ndarray, layout: WindowLayout, scores: Tensor, prompts: PromptSet
    ) -> Segmentation:
        """Label an image (H, W, 3) by the scores (n, K, h, w) of its windows."""
        everything = Tile(slice(0, image.shape[0]), slice(0, image.shape[1]))
        probabilities = self.lay_out(scores, layout)
        labels, confidence = self.label(probabilities, prompts, everything, image)
        return Segmentation(labels, confidence, prompts, probabilities)

    def to_working_size(self, image: np.ndarray, layout: WindowLayout) -> Tensor:
        """Resize an image (H, W, 3) uint8 as its windows are cut from it, (3, h, w)."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)  # from: rows, columns, channels
        return resize(pixels, layout.working_size, self.windows.antialias, self.windows.cubic)

    def _encode_windows(self, image: np.ndarray, layout: WindowLayout) -> Iterator[PatchFeatures]:
        pixels = self.to_working_size(image, layout)
        for blocks in layout.blocks:
            for block in blocks:
                yield from self.encode_block(pixels, block)

    def _superpixel_side(self, layout: WindowLayout) -> float:
        """Half a patch, in pixels of the image."""
        return max(2.0, self.model.patch_size * min(layout.size) / min(layout.working_size) / 2)


def _as_rgb(image: ArrayLike) -> np.ndarray:
    """Take (H, W, 3) uint8 as it is, however small, and let `to_rgb` see to all else."""
    array = np.asarray(image)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[-1] == 3 and array.size:
        return np.ascontiguousarray(array)
    return to_rgb(array)
