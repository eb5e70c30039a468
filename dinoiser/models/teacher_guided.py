"""MaskCLIP guided directly by the teachers: DINO's correlations and FOUND's objectness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.maskclip import MaskClip, pad_to_patches
from dinoiser.models.pooling import pool_by_correlation

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.models.teachers.dino import Dino
    from dinoiser.models.teachers.found import Found


class TeacherGuidedClip(MaskClip):
    """CLIP-DINOiser without learnt heads: three networks instead of one.

    Parameters
    ----------
    clip
        See `MaskClip`.
    dino
        Its values decide which patches are pooled.
    found
        Tells objects from background.
    gamma
        See `ClipDinoiser`.
    **described
        `tokenizer`, `name`, `digest`, `windows`: see `MaskClip`.

    References
    ----------
    Wysoczańska et al., CLIP-DINOiser, ECCV 2024, the rows "ours w. DINO" of
    table 2.
    """

    scoring = Scoring()
    gamma: float

    def __init__(
        self,
        clip: Any,
        dino: Dino,
        found: Found,
        gamma: float = 0.2,
        *,
        name: str = "clip-dino-guided",
        **described: Any,
    ) -> None:
        super().__init__(clip, name=name, **described)
        self.dino = dino.to(self.device, self.dtype)
        self.found = found.to(self.device, self.dtype)
        self.gamma = gamma

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Pooled patch features and objectness of pixels (B, 3, H, W), RGB, float in [0, 1].

        All three networks see the image as padded for CLIP. If the patches of
        the teacher have another size, CLIP's features are resized bilinearly to
        its grid.
        """
        # padded for CLIP first, so that all three grids cover the same area
        padded = pad_to_patches(pixels, self.patch_size)
        features = self.encode_patches(padded).features
        values = self.dino.values(padded)
        grid = (values.shape[-2], values.shape[-1])
        # not in the paper, where the patches of CLIP and DINO both have 16 pixels
        if features.shape[-2:] != grid:
            features = F.interpolate(features, grid, mode="bilinear", align_corners=False)
        pooled = pool_by_correlation(features, values, self.gamma)
        # back to logits, as `PatchFeatures.foreground` expects
        return PatchFeatures(pooled, self.found.patch_probabilities(padded, grid).logit())
