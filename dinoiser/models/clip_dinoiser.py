"""CLIP-DINOiser: MaskCLIP features, refined by two convolutional heads that learnt from DINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.errors import CheckpointError
from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.maskclip import GUIDE_BLOCK, MaskClip
from dinoiser.models.pooling import pool_by_correlation
from dinoiser.weights.checkpoint import check_numbers, load_into, read_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.models.maskclip import GuideBlock


class DinoiserHeads(nn.Module):
    """The two heads of CLIP-DINOiser, whose weights have their published names.

    Parameters
    ----------
    in_dim
        C, width of the vision tower: 768 for ViT-B/16.
    projection_dim
        P, length of the vectors in which patches are compared: 256 in the
        official weights.
    kernel_size
        Side of the convolution that makes them, an odd number of patches: 3 in
        the official weights.
    """

    def __init__(self, in_dim: int, projection_dim: int = 256, kernel_size: int = 3) -> None:
        super().__init__()
        self.obj_proj = nn.Conv2d(
            in_dim,
            projection_dim,
            kernel_size,
            padding=kernel_size // 2,
            padding_mode="replicate",
        )
        self.bkg_decoder = nn.Conv2d(in_dim, 1, 1)

    def forward(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Compute patch embeddings to correlate, and objectness.

        Parameters
        ----------
        guide
            (B, C, h, w), `DensePatches.guide`.

        Returns
        -------
        embeddings
            (B, P, h, w), not normalised; their cosines are equation (2) of
            the paper.
        foreground
            (B, h, w), logits, positive = object.
        """
        guide = guide.contiguous()  # replicate padding is several times slower on a permuted view
        # only the objectness head reads normalised tokens, as published
        return self.obj_proj(guide), self.bkg_decoder(F.normalize(guide, dim=1))[:, 0]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read heads from the official checkpoint or a safetensors file.

        The format of the file and the sizes of the heads are detected.

        Raises
        ------
        CheckpointError
            The file is unsafe, unreadable, or holds other tensors or odd numbers.
        """
        tensors = read_tensors(path)
        weight = tensors.get("obj_proj.weight")
        if weight is None or weight.ndim != 4 or weight.shape[-1] % 2 == 0:
            msg = (
                f"{path} does not contain heads: expected obj_proj.weight of shape (P, C, 3, 3), "
                f"found {sorted(tensors)[:6]}; give a file written by `dinoiser train` or the "
                "official last.pt."
            )
            raise CheckpointError(msg)
        projection_dim, in_dim, kernel_size, _ = weight.shape
        heads = cls(in_dim, projection_dim, kernel_size)
        check_numbers(tensors, path)
        load_into(heads, tensors, path)
        return heads

    def save(self, path: str | Path) -> None:
        """Write the heads as a safetensors file, which `load` reads."""
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, path)


def check_width(heads: DinoiserHeads, model: MaskClip) -> None:
    """Refuse heads that were made for a tower with another width."""
    reads, width = heads.obj_proj.in_channels, model.guide_width
    if reads != width:
        msg = (
            f"The heads read {reads} channels, but this CLIP's vision tower has {width}; give "
            "heads that were trained for this model."
        )
        raise CheckpointError(msg)


class ClipDinoiser(MaskClip):
    """CLIP-DINOiser over any open_clip model with a ViT tower.

    Parameters
    ----------
    clip
        See `MaskClip`.
    heads
        Heads that fit the tower's width; they are frozen.
    gamma
        Correlations below this are ignored in pooling; 0.2 in the paper.
    guide_block
        The block that the heads read, see `MaskClip`.
    **described
        `tokenizer`, `name`, `digest`, `windows`: see `MaskClip`.

    Raises
    ------
    CheckpointError
        The heads were made for a tower with another width.

    References
    ----------
    Wysoczańska et al., CLIP-DINOiser: Teaching CLIP a few DINO tricks for
    open-vocabulary semantic segmentation, ECCV 2024.
    """

    scoring = Scoring()
    gamma: float

    def __init__(
        self,
        clip: Any,
        heads: DinoiserHeads,
        gamma: float = 0.2,
        guide_block: GuideBlock = GUIDE_BLOCK,
        *,
        name: str = "clip-dinoiser",
        **described: Any,
    ) -> None:
        super().__init__(clip, name=name, **described)
        self.read_guide_at(guide_block)
        check_width(heads, self)
        self.heads = heads.eval().requires_grad_(False).to(self.device, self.dtype)
        self.gamma = gamma

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Pooled patch features and objectness of pixels (B, 3, H, W), RGB, float in [0, 1]."""
        patches = self.encode_patches(pixels)
        embeddings, foreground = self.heads(patches.guide)
        pooled = pool_by_correlation(patches.features, embeddings, self.gamma)
        return PatchFeatures(pooled, foreground)
