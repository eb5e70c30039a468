"""What every segmentation model offers: patch features of pixels, embeddings of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from dinoiser.models.catalog import WindowDefaults


@dataclass(frozen=True)
class PatchFeatures:
    """Dense features of a batch of images, one vector a patch.

    Attributes
    ----------
    features
        (B, D, h, w), in the space of the class embeddings, not normalised.
    foreground
        (B, h, w) objectness logits, positive where the model sees an object;
        None where a model has no background head.
    guide
        (B, G, h, w), what the model's `Scoring` reads beside: the keys of
        patches, or the class token's attention to them, a head a channel;
        None where it reads nothing else.
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
        """Put batches of one model together."""
        import torch

        foreground = [batch.foreground for batch in batches if batch.foreground is not None]
        guide = [batch.guide for batch in batches if batch.guide is not None]
        return cls(
            torch.cat([batch.features for batch in batches]),
            torch.cat(foreground) if foreground else None,
            torch.cat(guide) if guide else None,
        )


@dataclass(frozen=True)
class Scoring:
    """How a method makes classes of features, where methods differ; by default as CLIP-DINOiser.

    Attributes
    ----------
    probability
        "softmax" over classes of cosines times `temperature`, or "sigmoid" of
        a class's cosine by itself.
    temperature
        Factor of the cosines.
    background
        What a class "background" means: "objectness", patches that look like
        no object go to it; "threshold", so do those in which no class is
        above `threshold`, and its own words do not count; "class", it is a
        class like any other, found by its words.
    threshold
        Probability that a class has to reach, where background is "threshold".
    guide
        What `PatchFeatures.guide` holds and is for: "keys", every patch takes
        the mean of the probabilities of patches with like keys; "attention",
        the background is cleaned by where the class token looks; None, nothing.
    enlarged
        What goes from patches to pixels: "probabilities"; "cosines", of which
        every window's pixels make probabilities for themselves; or "features"
        of any length, of which they make cosines first. The last two are for
        methods with a softmax and without a guide or objectness.
    spread
        How patches lie over a window: "stretched" over all of it, padding
        included, linear between their centres; "cubic" between them; or with
        the centres of the outer ones on its "corners".
    padded
        Whether images that are looked at whole are padded to full patches
        and the padding is cut off; otherwise patches are spread over them.
    templates
        Sentences with {} that take the place of the 80 "imagenet" ones; None
        where those are the method's own.
    """

    probability: Literal["softmax", "sigmoid"] = "softmax"
    temperature: float = 100.0
    background: Literal["objectness", "threshold", "class"] = "objectness"
    threshold: float = 0.5
    guide: Literal["keys", "attention"] | None = None
    enlarged: Literal["probabilities", "cosines", "features"] = "probabilities"
    spread: Literal["stretched", "corners", "cubic"] = "stretched"
    padded: bool = True
    templates: tuple[str, ...] | None = None


class SegmentationModel(Protocol):
    """The interface between the models and everything above them.

    Inherit from it to get the defaults of `scoring`, `gamma` and `encode_phrase`; a class that
    has all of it without inheriting serves as well.

    Attributes
    ----------
    name
        Name in the catalogue, or one given by hand.
    digest
        Digest of the weights, or None for a model made by hand; embeddings of
        phrases are kept on disk only for models that have one.
    patch_size
        Side of a patch in pixels.
    embedding_dim
        D, the length of patch features and class embeddings.
    windows
        The window sizes that this model was made for.
    scoring
        How the method makes classes of features.
    gamma
        Threshold of the correlations by which features are pooled; None where
        they are not.
    """

    name: str
    digest: str | None
    patch_size: int
    embedding_dim: int
    windows: WindowDefaults
    scoring: Scoring = Scoring()
    gamma: float | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""

    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features of pixels (B, 3, H, W), RGB, float in [0, 1]."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, L2-normalised."""

    def encode_phrase(self, sentences: Sequence[str]) -> Tensor:
        """Embedding (D,) float32 of a phrase by its sentences: their mean, L2-normalised."""
        from torch.nn import functional as F

        return F.normalize(self.encode_text(sentences).mean(0), dim=-1)
