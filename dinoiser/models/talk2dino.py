"""Talk2DINO: CLIP's text embeddings projected into the space of DINO's patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.errors import CheckpointError
from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.catalog import WindowDefaults
from dinoiser.models.dino_registers import OnRegisterDino
from dinoiser.models.text import SEVEN_TEMPLATES, TextTower
from dinoiser.weights.checkpoint import load_into, read_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dinoiser.models.dino_registers import RegisterDino

SIDE = 448
"""Side in pixels of the square to which every image or window is resized."""


class TextProjection(nn.Module):
    """Two layers from CLIP's sentences to DINO's patches, whose weights have their published names.

    Parameters
    ----------
    text_dim, embedding_dim
        Lengths of a sentence's and a patch's vector.
    """

    def __init__(self, text_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.linear_layer = nn.Linear(text_dim, embedding_dim)
        self.hidden_layers = nn.ModuleList([nn.Linear(embedding_dim, embedding_dim)])

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project (T, text_dim) to (T, embedding_dim), not normalised."""
        return self.hidden_layers[0](self.linear_layer(embeddings).tanh())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a projection; its sizes follow from the file.

        Raises
        ------
        CheckpointError
            The file is unsafe, unreadable, or holds other tensors.
        """
        tensors = {
            # older files call the second layer linear_layer2
            name.replace("linear_layer2.", "hidden_layers.0."): tensor
            for name, tensor in read_tensors(path).items()
        }
        weight = tensors.get("linear_layer.weight")
        if weight is None or weight.ndim != 2:
            msg = (
                f"{path} does not contain Talk2DINO's projection: expected linear_layer.weight, "
                f"found {sorted(tensors)[:6]}; give a file such as vitb_mlp_infonce.pth."
            )
            raise CheckpointError(msg)
        projection = cls(text_dim=weight.shape[1], embedding_dim=weight.shape[0])
        load_into(projection, tensors, path)
        return projection


class Talk2Dino(OnRegisterDino):
    """Talk2DINO over DINOv2 or DINOv3 with registers and a CLIP's text tower.

    Parameters
    ----------
    clip
        A `Clip` or an open_clip model; only its text tower is used.
    dino
        The source of patch features.
    projection
        Maps CLIP's sentences to DINO's patches.
    threshold
        Probability below which a pixel is background; in the paper, 0.55 for
        ViT-B and 0.54 for ViT-L.
    tokenizer
        Sentences to token ids (T, context length); CLIP's own by default.
    name, digest, windows
        See `SegmentationModel`.

    Raises
    ------
    CheckpointError
        The projection was made for other networks.

    References
    ----------
    Barsellotti et al., Talking to DINO: Bridging Self-Supervised Vision
    Backbones with Language for Open-Vocabulary Segmentation, ICCV 2025.
    """

    def __init__(
        self,
        clip: Any,  # open_clip has no types
        dino: RegisterDino,
        projection: TextProjection,
        threshold: float = 0.55,
        tokenizer: Callable[[list[str]], Tensor] | None = None,
        *,
        name: str = "talk2dino-vitb",
        digest: str | None = None,
        windows: WindowDefaults | None = None,
    ) -> None:
        made_for = projection.hidden_layers[0].out_features
        if made_for != dino.width:
            msg = (
                f"The projection was made for patches with {made_for} channels, but this DINO has "
                f"{dino.width}; give the projection for the same size, ViT-B or ViT-L."
            )
            raise CheckpointError(msg)
        super().__init__(dino, name, digest, windows or WindowDefaults())
        self.text = TextTower(clip.eval().requires_grad_(False), tokenizer)
        self.projection = projection.eval().requires_grad_(False).to(dino.device)  # in float32
        self.scoring = self.scoring_at(threshold)

    @staticmethod
    def scoring_at(threshold: float) -> Scoring:
        """Return Talk2DINO's rules, with pixels below a probability being background."""
        return Scoring(
            probability="sigmoid",
            background="threshold",
            threshold=threshold,
            guide="attention",
            spread="corners",  # the authors interpolate with align_corners=True
            padded=False,
            templates=SEVEN_TEMPLATES,
        )

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, L2-normalised."""
        return F.normalize(self.projection(self.text.project(texts)), dim=-1)

    @torch.no_grad()
    def encode_phrase(self, sentences: Sequence[str]) -> Tensor:
        """Embedding (D,) float32 of a phrase: the projected mean of CLIP's, L2-normalised.

        Unlike for CLIP-DINOiser, sentences are not normalised before the mean.
        """
        return F.normalize(self.projection(self.text.project(sentences).mean(0)), dim=-1)

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features and the class token's attention, one channel per head.

        Parameters
        ----------
        pixels
            (B, 3, H, W), RGB, float in [0, 1]; resized to a square of `SIDE`
            bilinearly without antialiasing, whatever the aspect ratio.
        """
        if pixels.shape[-2:] != (SIDE, SIDE):
            pixels = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False)
        seen = self.dino.encode(pixels)
        return PatchFeatures(seen.patches(), None, seen.attention)
