"""What every segmentation model offers: patch features of pixels, embeddings of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from dinoiser.models.catalog import WindowDefaults


@dataclass(frozen=True)
class PatchFeatures:
    """Dense features of a batch of pictures, one vector a patch.

    Attributes
    ----------
    features
        (B, D, h, w), in the space of the class embeddings, not normalised.
    foreground
        (B, h, w) objectness logits, positive where the model sees an object;
        None where a model has no background head.
    """

    features: Tensor
    foreground: Tensor | None


class SegmentationModel(Protocol):
    """The interface between the models and everything above them.

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
    """

    name: str
    digest: str | None
    patch_size: int
    embedding_dim: int
    windows: WindowDefaults

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
