"""MaskCLIP with key smoothing: probabilities averaged over patches with similar keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.maskclip import MaskClip, to_map

if TYPE_CHECKING:
    from torch import Tensor


class KeyRefinedClip(MaskClip):
    """MaskCLIP whose patches also carry the keys of CLIP's last block, see `Scoring.guide`.

    Parameters
    ----------
    clip, **described
        See `MaskClip`.

    Notes
    -----
    A patch's probabilities become the mean over all patches, weighted by the
    cosines of their keys. MaskCLIP does not divide by the sum of the weights,
    which does not change a patch's best class. Negative cosines count as 0.
    MaskCLIP's other step, dropping classes that are unlikely everywhere, is not
    part of the paper's comparison and is left out.

    References
    ----------
    Zhou et al., Extract Free Dense Labels from CLIP, ECCV 2022, section 3.3;
    table 2a of CLIP-DINOiser, "CLIP keys (preds.)".
    """

    scoring = Scoring(background="class", guide="keys")

    def __init__(self, clip: Any, *, name: str = "clip-keys-refined", **described: Any) -> None:
        super().__init__(clip, name=name, **described)

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features and keys of pixels (B, 3, H, W), RGB, float in [0, 1]."""
        x, _, grid = self._run_to_last(pixels)
        last, width = self.visual.transformer.resblocks[-1], x.shape[-1]
        some = slice(width, 2 * width)  # the rows are queries, keys, values
        weight, bias = last.attn.in_proj_weight[some], last.attn.in_proj_bias[some]
        keys = F.linear(last.ln_1(x), weight, bias)
        return PatchFeatures(to_map(self._dense(x), grid), None, to_map(keys, grid))
