"""CLIP-DINOiser with its two sources of guidance exchanged, as in the tables of its paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional as F

from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.clip_dinoiser import check_width
from dinoiser.models.maskclip import GUIDE_BLOCK, MaskClip, pad_to_patches, to_map
from dinoiser.models.pooling import pool_by_correlation

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.models.clip_dinoiser import DinoiserHeads
    from dinoiser.models.maskclip import GuideBlock
    from dinoiser.models.teachers.dino import Dino
    from dinoiser.models.teachers.found import Found
    from dinoiser.models.variation import Variation


class Sources(NamedTuple):
    """The networks that a `Variation` needs besides CLIP; None for those that it does not."""

    heads: DinoiserHeads | None = None
    dino: Dino | None = None
    found: Found | None = None


class VariedClip(MaskClip):
    """CLIP-DINOiser whose correlations and objects come from elsewhere, or not at all.

    Parameters
    ----------
    clip
        See `MaskClip`.
    variation
        Where they come from.
    sources
        The networks that this needs.
    gamma, guide_block
        See `ClipDinoiser`.
    **described
        `tokenizer`, `name`, `digest`, `windows`: see `MaskClip`.

    References
    ----------
    Wysoczańska et al., CLIP-DINOiser, ECCV 2024, tables 1 and 2.
    """

    def __init__(
        self,
        clip: Any,
        variation: Variation,
        sources: Sources,
        gamma: float = 0.2,
        guide_block: GuideBlock = GUIDE_BLOCK,
        *,
        name: str = "clip-dinoiser",
        **described: Any,
    ) -> None:
        super().__init__(clip, name=name, **described)
        self.variation = variation
        self.read_guide_at(guide_block)
        if sources.heads is not None:
            check_width(sources.heads, self)
        for source in sources:
            if source is not None:
                source.to(self.device, self.dtype)
        self.sources = sources
        self.scoring = Scoring(background=variation.background)
        self.gamma = None if variation.pooling == "none" else gamma

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features and objectness of pixels (B, 3, H, W), RGB, float in [0, 1].

        All networks see the image as padded for CLIP. If the patches of DINO
        have another size, CLIP's features are resized bilinearly to its grid.
        """
        padded = pad_to_patches(pixels, self.patch_size)
        x, guide, grid = self._run_to_last(padded)
        features, guide = self._patches(x, guide, grid)
        if self.gamma is not None:
            compared = self._compared(padded, x, guide, grid)
            # not in the paper, where the patches of CLIP and DINO both have 16 pixels
            if features.shape[-2:] != compared.shape[-2:]:
                features = F.interpolate(
                    features, compared.shape[-2:], mode="bilinear", align_corners=False
                )
            features = pool_by_correlation(features, compared, self.gamma)
        grid = (features.shape[-2], features.shape[-1])
        return PatchFeatures(features, self._objectness(padded, guide, grid))

    def _compared(self, pixels: Tensor, x: Tensor, guide: Tensor, grid: tuple[int, int]) -> Tensor:
        """Vectors (B, P, h, w) whose cosines are the correlations of patches."""
        pooling, (heads, dino, _) = self.variation.pooling, self.sources
        if pooling == "clip-keys":
            return to_map(self._last_keys(x), grid)
        if pooling == "heads":
            assert heads is not None
            return heads(guide)[0]
        assert dino is not None
        of_dino = {"queries": dino.queries, "keys": dino.keys, "values": dino.values}
        return of_dino[pooling.removeprefix("dino-")](pixels)

    def _objectness(self, pixels: Tensor, guide: Tensor, grid: tuple[int, int]) -> Tensor | None:
        """Logits (B, h, w) on a grid, positive = object; None without."""
        heads, _, found = self.sources
        if self.variation.objects == "found":
            assert found is not None
            # back to logits, as `PatchFeatures.foreground` expects
            return found.patch_probabilities(pixels, grid).logit()
        if self.variation.objects == "heads":
            assert heads is not None
            objects = heads(guide)[1]
            return F.interpolate(objects[:, None], grid, mode="bilinear", align_corners=False)[:, 0]
        return None
