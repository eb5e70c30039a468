"""The interface of all segmentation models: patch features of pixels, embeddings of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from torch import Tensor

    from dinoiser.models.catalog import WindowDefaults


@dataclass(frozen=True)
class PatchFeatures:
    """Dense features of a batch of images, one vector per patch.

    Attributes
    ----------
    features
        (B, D, h, w), in the space of the class embeddings, not normalised.
    foreground
        (B, h, w) objectness logits, positive where the model sees an object;
        None if the model has no background head.
    guide
        (B, G, h, w), what else the model's `Scoring` reads: the keys of
        patches, or the class token's attention to them, one channel per head;
        None if it reads nothing else.
    """

    features: Tensor
    foreground: Tensor | None
    guide: Tensor | None = None

    def part(self, some: slice) -> PatchFeatures:
        """Select some images of the batch."""
        foreground = None if self.foreground is None else self.foreground[some]
        guide = None if self.guide is None else self.guide[some]
        return PatchFeatures(self.features[some], foreground, guide)

    @classmethod
    def cat(cls, batches: Sequence[PatchFeatures]) -> PatchFeatures:
        """Concatenate batches of the same model; a single one is not copied."""
        import torch

        if len(batches) == 1:
            return batches[0]
        foreground = [batch.foreground for batch in batches if batch.foreground is not None]
        guide = [batch.guide for batch in batches if batch.guide is not None]
        return cls(
            torch.cat([batch.features for batch in batches]),
            torch.cat(foreground) if foreground else None,
            torch.cat(guide) if guide else None,
        )


@dataclass(frozen=True)
class Scoring:
    """How a method turns features into classes; the defaults are those of CLIP-DINOiser.

    Attributes
    ----------
    probability
        "softmax" over classes of cosines times `temperature`, or "sigmoid" of
        each class's cosine independently.
    temperature
        Factor applied to the cosines.
    confidence_temperature
        Factor applied to the cosines for the probabilities of pixels, if that of
        the labels leaves all near 1 / K; it changes no label. None: `temperature`.
        Only where `enlarged` is "cosines".
    background
        What a class "background" means. "objectness": it also gets the patches
        that do not look like an object. "threshold": it gets the patches in
        which no class is above `threshold`, and its own words do not count.
        "class": it is a class like any other, found by its words.
    threshold
        Probability that a class must reach if background is "threshold".
    least_background
        Probability in [0, 1] that a background has at every pixel, whatever its
        words; only where `enlarged` is "phrases".
    guide
        What `PatchFeatures.guide` contains and is used for. "keys": patches
        decide together with those of similar keys, see `share_by_keys`.
        "attention": the background is cleaned according to where the class
        token attends. None: nothing.
    enlarged
        What is interpolated from patches to pixels: "probabilities";
        "cosines", from which probabilities are computed for each pixel of a
        window; unnormalised "features", from which cosines are computed first;
        or cosines of "phrases", from which the probabilities of phrases are
        computed for each pixel of the image, and a class has that of its best
        phrase. The last three require a softmax and no guide or objectness.
    spread
        How patches lie over a window: "stretched" over all of it including
        padding, with linear interpolation between patch centres; the same but
        "cubic"; or with the centres of the outermost patches on its "corners".
    padded
        Whether images segmented as a whole are padded to full patches and
        cropped afterwards; otherwise patches are stretched over them.
    dilations
        Distances of the neighbours in PAMR, in pixels; None for those of
        `dinoiser.segment.refine.pamr`.
    templates
        Sentences with {} that replace the 80 "imagenet" ones; None if those
        are the method's own.
    """

    probability: Literal["softmax", "sigmoid"] = "softmax"
    temperature: float = 100.0
    confidence_temperature: float | None = None
    background: Literal["objectness", "threshold", "class"] = "objectness"
    threshold: float = 0.5
    least_background: float = 0.0
    guide: Literal["keys", "attention"] | None = None
    enlarged: Literal["probabilities", "cosines", "features", "phrases"] = "probabilities"
    spread: Literal["stretched", "corners", "cubic"] = "stretched"
    padded: bool = True
    dilations: tuple[int, ...] | None = None
    templates: tuple[str, ...] | None = None

    @property
    def sharpness(self) -> float:
        """Power to which probabilities of pixels are raised, before they sum to 1 again."""
        return (self.confidence_temperature or self.temperature) / self.temperature


class SegmentationModel(Protocol):
    """The interface between the models and everything above them.

    Inherit from it to get the defaults of `scoring`, `gamma`, `to_pixels` and `encode_phrase`. A
    class that defines all members without inheriting works as well.

    Attributes
    ----------
    name
        Name in the catalogue, or any other.
    digest
        Digest of the weights, or None for a model built by the caller.
        Embeddings of phrases are kept on disk only for models that have one.
    patch_size
        Side of a patch in pixels.
    embedding_dim
        D, the length of patch features and class embeddings.
    windows
        The window sizes that suit this model.
    scoring
        How the method turns features into classes.
    gamma
        Threshold of the correlations by which features are pooled; None if
        they are not pooled.
    to_pixels
        What turns the patches of an image into pixels, in place of the default
        refinement ("edges"), such as a learnt upsampler: a function of a
        `ProbabilityMap` and the image (H, W, 3) uint8 RGB that returns a
        `PixelMap`. It needs whole images. None: the model brings none.
    """

    name: str
    digest: str | None
    patch_size: int
    embedding_dim: int
    windows: WindowDefaults
    scoring: Scoring = Scoring()
    gamma: float | None = None
    to_pixels: Callable[[Any, np.ndarray], Any] | None = None  # the maps stand above models

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""

    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features of pixels (B, 3, H, W), RGB, float in [0, 1]."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, L2-normalised."""

    def encode_phrase(self, sentences: Sequence[str]) -> Tensor:
        """Embedding (D,) float32 of a phrase: the mean of its sentences', L2-normalised."""
        from torch.nn import functional as F

        return F.normalize(self.encode_text(sentences).mean(0), dim=-1)
