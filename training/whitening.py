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
    start
        Heads to start from: what is fitted is how the first one differs from them. If
        None, the heads start at random.
    """

    mean: Tensor
    matrix: Tensor
    kernel: Tensor
    offset: Tensor

    def __init__(
        self, guides: Iterable[Tensor], projection_dim: int, start: DinoiserHeads | None = None
    ) -> None:
        super().__init__()
        mean, matrix, covariance = whitening(guides)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("matrix", matrix, persistent=False)
        self.weight = nn.Parameter(torch.randn(projection_dim, len(matrix)) / len(matrix) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(projection_dim))
        self.bkg_decoder = nn.Conv2d(len(mean) // 9, 1, 1)
        kernel, offset = torch.zeros(projection_dim, len(mean)), torch.zeros(projection_dim)
        if start is not None:
            kernel, offset = _scaled(start.obj_proj, covariance)
            nn.init.zeros_(self.weight)
            self.bkg_decoder.load_state_dict(start.bkg_decoder.state_dict())
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Compute patch embeddings (B, P, h, w) and objectness (B, h, w), see `DinoiserHeads`."""
        kernel, bias = self._convolution()
        padded = F.pad(guide, (1, 1, 1, 1), mode="replicate")
        foreground = self.bkg_decoder(F.normalize(guide, dim=1))[:, 0]
        return F.conv2d(padded, kernel, bias), foreground

    def _convolution(self) -> tuple[Tensor, Tensor]:
        # start + weight @ matrix @ (x - mean) + bias, as a 3x3 kernel (P, C, 3, 3) and another bias
        added = self.weight @ self.matrix
        kernel = self.kernel + added
        return kernel.view(len(kernel), -1, 3, 3), self.offset + self.bias - added @ self.mean

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


def _scaled(projection: nn.Conv2d, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel (P, 9 C) and bias (P,), scaled so that embeddings vary as those of a random start.

    Learning rates then mean the same; the angles between embeddings stay as they are.
    """
    kernel = projection.weight.detach().float().cpu().flatten(1)
    bias = projection.bias.detach().float().cpu()  # type: ignore[union-attr]
    variance = (kernel @ covariance.cpu() * kernel).sum(1).mean()
    scale = variance.clamp(min=torch.finfo().tiny).rsqrt()
    return scale * kernel, scale * bias


def whitening(guides: Iterable[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (9 C,), whitening matrix (K, 9 C) and covariance (9 C, 9 C).

    They are those of all 3x3 neighbourhoods in batches (B, C, h, w).
    """
    # first and second moments of all neighbourhoods, summed batch by batch
    count, mean, second = 0, torch.zeros(()), torch.zeros(())
    for guide in guides:
        padded = F.pad(guide.float(), (1, 1, 1, 1), mode="replicate")
        inputs = F.unfold(padded, 3).transpose(1, 2).flatten(0, 1)  # (B h w, 9 C)
        count += len(inputs)
        mean = mean.to(inputs.device) + inputs.sum(0)
        second = second.to(inputs.device) + inputs.T @ inputs
    mean, second = mean / count, second / count
    covariance = second - torch.outer(mean, mean)
    # eigenvectors of the covariance, in ascending order of variance, in float64 for accuracy
    variances, directions = torch.linalg.eigh(to_float64(covariance))
    # either sign will do for LAPACK; so that heads do not depend on the machine: the one whose
    # largest entry is positive
    largest = directions.abs().argmax(0, keepdim=True)
    directions = directions * directions.gather(0, largest).sign()
    scales = (variances.clamp(min=0) + SMALLEST_VARIANCE * variances.mean()).rsqrt()
    # the last columns have the largest variance
    kept = round(KEPT_SHARE * len(mean))
    return mean, (directions * scales)[:, -kept:].T.float().contiguous(), covariance
