"""TIPS v2: an image and a text tower that were trained together for features of patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from dinoiser.errors import CheckpointError
from dinoiser.models.base import PatchFeatures, Scoring, SegmentationModel
from dinoiser.models.catalog import WindowDefaults
from dinoiser.models.maskclip import stretch_to_patches
from dinoiser.models.text import SEVEN_TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from dinoiser.models.tips_towers import TipsTextTower, TipsVisionTower

TIPS_WINDOWS = WindowDefaults(short_side=448, window=448, stride=336, cubic=True)
TEMPLATES = (*SEVEN_TEMPLATES, "a photo of many {}.", "a photo of {}s.")


class TipsV2(SegmentationModel):
    """TIPS v2, by its published zero-shot segmentation.

    Parameters
    ----------
    vision, text
        The two towers.
    tokenize
        Sentences to the numbers of their pieces, such as a `TipsTokenizer`.
    temperature
        The trained temperature, by which cosines of an image with texts become
        probabilities. It decides about confidence only: labels are those of
        the published code, which uses none.
    name, digest, windows
        See `SegmentationModel`; by default, windows are the published ones.

    Raises
    ------
    CheckpointError
        The towers do not belong together.

    References
    ----------
    Cao et al., TIPSv2: Advancing Vision-Language Pretraining with Enhanced
    Patch-Text Alignment, CVPR 2026.
    """

    def __init__(
        self,
        vision: TipsVisionTower,
        text: TipsTextTower,
        tokenize: Callable[[Sequence[str]], list[list[int]]],
        temperature: float = 0.005,
        *,
        name: str = "tipsv2-b",
        digest: str | None = None,
        windows: WindowDefaults | None = None,
    ) -> None:
        if vision.width != text.width:
            msg = (
                f"The image tower has {vision.width} channels and the text tower {text.width}, "
                "expected the same; give files of the same model."
            )
            raise CheckpointError(msg)
        self.vision = vision
        self.text = text.eval().requires_grad_(False).to(vision.device, vision.dtype)
        self.tokenize = tokenize
        self.name = name
        self.digest = digest
        self.windows = windows or TIPS_WINDOWS
        self.patch_size = vision.patch_size
        self.embedding_dim = vision.width
        self.scoring = Scoring(
            temperature=1.0,
            confidence_temperature=1 / temperature,
            background="class",
            enlarged="cosines",
            padded=False,
            templates=TEMPLATES,
        )

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.vision.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.vision.dtype

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features of pixels (B, 3, H, W), RGB, float in [0, 1].

        Sizes that are not multiples of the patch are stretched bicubically to
        the next multiple.
        """
        return PatchFeatures(self.vision.encode(stretch_to_patches(pixels, self.patch_size)), None)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (T, D) float32 of whole sentences, L2-normalised."""
        sentences = self.tokenize(texts)
        embeddings = torch.empty(len(texts), self.embedding_dim, device=self.device)
        # sentences of one length share a pass, so that none is padded
        for length in {len(pieces) for pieces in sentences}:
            some = [i for i, pieces in enumerate(sentences) if len(pieces) == length]
            ids = torch.tensor([sentences[i] for i in some], device=self.device)
            embeddings[some] = F.normalize(self.text(ids).float(), dim=-1)
        return embeddings
