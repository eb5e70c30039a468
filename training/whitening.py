"""Heads that are fitted in the whitened space of the backbone's tokens.

Neighbouring tokens are so alike that a few directions hold nearly all of their variance,
and a convolution fitted to the tokens as they are learns little else for a long time. Here
every direction counts alike; in the end the map of that space is a convolution again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.device import to_float64

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT_SHARE = 0.55
"""Of the directions, those of the largest variance are kept."""
SMALLEST_VARIANCE = 1e-3
"""Added to every variance, as a share of their mean."""


class WhitenedHeads(nn.Module):
    """Both heads, the first as a map of whitened 3x3 neighbourhoods.

    Parameters
    ----------
    guides
        Parts (B, C, h, w) of what the heads read, to measure the neighbourhoods by.
    projection_dim
        Length of the vectors in which patches are compared.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, guides: Iterable[Tensor], projection_dim: int) -> None:
        super().__init__()
        mean, matrix = whitening(guides)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("matrix", matrix, persistent=False)
        self.weight = nn.Parameter(torch.randn(projection_dim, len(matrix)) / len(matrix) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(projection_dim))
        self.bkg_decoder = nn.Conv2d(len(mean) // 9, 1, 1)

    def forward(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Patch embeddings (B, P, h, w) and objectness (B, h, w), as `DinoiserHeads` gives them."""
        kernel, bias = self._convolution()
        padded = F.pad(guide, (1, 1, 1, 1), mode="replicate")
        foreground = self.bkg_decoder(F.normalize(guide, dim=1))[:, 0]
        return F.conv2d(padded, kernel, bias), foreground

    def _convolution(self) -> tuple[Tensor, Tensor]:
        kernel = self.weight @ self.matrix
        return kernel.view(len(kernel), -1, 3, 3), self.bias - kernel @ self.mean

    @torch.no_grad()
    def export(self) -> DinoiserHeads:
        """Return the same as ordinary heads.

        Only the angles of the embeddings matter, so the kernel is scaled to a standard
        deviation of 0.02, which small number formats hold well.
        """
        kernel, bias = self._convolution()
        scale = 0.02 / kernel.std()
        heads = DinoiserHeads(kernel.shape[1], len(kernel)).to(kernel.device)
        heads.obj_proj.load_state_dict({"weight": scale * kernel, "bias": scale * bias})
        heads.bkg_decoder.load_state_dict(self.bkg_decoder.state_dict())
        return heads


def whitening(guides: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (9 C,) and whitening matrix (K, 9 C) of all 3x3 neighbourhoods of parts (B, C, h, w)."""
    count, mean, second = 0, torch.zeros(()), torch.zeros(())
    for guide in guides:
        padded = F.pad(guide.float(), (1, 1, 1, 1), mode="replicate")
        inputs = F.unfold(padded, 3).transpose(1, 2).flatten(0, 1)  # (B h w, 9 C)
        count += len(inputs)
        mean = mean.to(inputs.device) + inputs.sum(0)
        second = second.to(inputs.device) + inputs.T @ inputs
    mean, second = mean / count, second / count
    variances, directions = torch.linalg.eigh(to_float64(second - torch.outer(mean, mean)))
    scales = (variances.clamp(min=0) + SMALLEST_VARIANCE * variances.mean()).rsqrt()
    kept = round(KEPT_SHARE * len(mean))
    return mean, (directions * scales)[:, -kept:].T.float().contiguous()
