"""The first layer of a ViT: a vector for each patch, from its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor, nn


def embed_patches(projection: nn.Conv2d, pixels: Tensor) -> Tensor:
    """Do as `projection(pixels)`, for patches that do not overlap, and rightly on any processor.

    Parameters
    ----------
    projection
        A convolution whose steps are as long as its kernel's sides.
    pixels
        (B, 3, H, W), H and W in full patches.

    Returns
    -------
    Tensor
        (B, C, h, w).
    """
    height, width = projection.kernel_size
    on_cpu_in_bfloat16 = pixels.device.type == "cpu" and pixels.dtype == torch.bfloat16
    if pixels.shape[-1] != width or not on_cpu_in_bfloat16:
        patches: Tensor = projection(pixels)
        return patches
    # With AMX, oneDNN 3.13 reads memory that is not the image's where there is one column of
    # patches: (B, 3, h * height, width) -> (B, h, 3 * height * width), times the kernels
    rows = pixels.unflatten(2, (-1, height)).transpose(1, 2).flatten(2)
    return F.linear(rows, projection.weight.flatten(1), projection.bias).mT[..., None]
