"""MaskCLIP with key smoothing: patches with similar keys decide together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

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
    normalised_over
        What the keys are divided by before their products become weights.
        "patches": each channel by its length over all patches, as in MaskCLIP's
        code, with which the figures were measured. "channels": each key by its
        own length, as in the paper's formula; the weights are then cosines.

    Notes
    -----
    Patches share their probabilities by the products of their keys, see
    `share_by_keys`. MaskCLIP leaves the sums as they are; here, what is below 0
    becomes 0, and the rest is divided by its sum, which does not change a
    patch's best class.
    MaskCLIP's other step, dropping classes that are unlikely everywhere, is not
    part of the paper's comparison and is left out.

    References
    ----------
    Zhou et al., Extract Free Dense Labels from CLIP, ECCV 2022, section 3.3;
    table 2a of CLIP-DINOiser, "CLIP keys (preds.)".
    """

    scoring = Scoring(background="class", guide="keys")

    def __init__(
        self,
        clip: Any,
        normalised_over: Literal["patches", "channels"] = "patches",
        *,
        name: str = "clip-keys-refined",
        **described: Any,
    ) -> None:
        super().__init__(clip, name=name, **described)
        self.normalised_over = normalised_over

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Patch features and normalised keys of pixels (B, 3, H, W), RGB, float in [0, 1]."""
        x, _, grid = self._run_to_last(pixels)
        keys = self._last_keys(x)
        keys = F.normalize(keys, dim=1 if self.normalised_over == "patches" else 2)
        return PatchFeatures(self._dense(x, grid), None, to_map(keys, grid))
