"""Fit heads in the whitened space of the backbone's tokens.

Neighbouring tokens are so similar that a few directions contain nearly all of their variance,
and a convolution fitted to the tokens directly learns little else for a long time. Here, all
directions have equal weight. The result is converted back to an ordinary convolution.
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
"""Share of the directions that is kept: those with the largest variance."""
SMALLEST_VARIANCE = 1e-3
"""Added to every variance, as a share of the mean variance."""


class WhitenedHeads(nn.Module):
    """Both heads; the first is a linear map of whitened 3x3 neighbourhoods.

    Parameters
    ----------
    guides
        Batches (B, C, h, w) of the heads' input, to estimate the whitening from.
    projection_dim
        Length of the vectors by which patches are compared.
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
        """Compute patch embeddings (B, P, h, w) and objectness (B, h, w), see `DinoiserHeads`."""
        kernel, bias = self._convolution()
        padded = F.pad(guide, (1, 1, 1, 1), mode="replicate")
        foreground = self.bkg_decoder(F.normalize(guide, dim=1))[:, 0]
        return F.conv2d(padded, kernel, bias), foreground

    def _convolution(self) -> tuple[Tensor, Tensor]:
        # weight @ matrix @ (x - mean) + bias, as a 3x3 kernel (P, C, 3, 3) and another bias
        kernel = self.weight @ self.matrix
        return kernel.view(len(kernel), -1, 3, 3), self.bias - kernel @ self.mean

    @torch.no_grad()
    def export(self) -> DinoiserHeads:
        """Return equivalent ordinary heads.

        Only the angles of the embeddings matter, so the kernel is scaled to a standard
        deviation of 0.02, which suits small number formats.
        """
        kernel, bias = self._convolution()
        scale = 0.02 / kernel.std()
        heads = DinoiserHeads(kernel.shape[1], len(kernel)).to(kernel.device)
        heads.obj_proj.load_state_dict({"weight": scale * kernel, "bias": scale * bias})
        heads.bkg_decoder.load_state_dict(self.bkg_decoder.state_dict())
        return heads


def whitening(guides: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (9 C,) and whitening matrix (K, 9 C) of all 3x3 neighbourhoods in (B, C, h, w)."""
    # first and second moments of all neighbourhoods, summed batch by batch
    count, mean, second = 0, torch.zeros(()), torch.zeros(())
    for guide in guides:
        padded = F.pad(guide.float(), (1, 1, 1, 1), mode="replicate")
        inputs = F.unfold(padded, 3).transpose(1, 2).flatten(0, 1)  # (B h w, 9 C)
        count += len(inputs)
        mean = mean.to(inputs.device) + inputs.sum(0)
        second = second.to(inputs.device) + inputs.T @ inputs
    mean, second = mean / count, second / count
    # eigenvectors of the covariance, in ascending order of variance, in float64 for accuracy
    variances, directions = torch.linalg.eigh(to_float64(second - torch.outer(mean, mean)))
    scales = (variances.clamp(min=0) + SMALLEST_VARIANCE * variances.mean()).rsqrt()
    # the last columns have the largest variance
    kept = round(KEPT_SHARE * len(mean))
    return mean, (directions * scales)[:, -kept:].T.float().contiguous()
