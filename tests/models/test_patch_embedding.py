"""Patches of any grid get the vectors that the convolution of a ViT defines."""

import pytest
import torch
from torch.nn import functional as F

from dinoiser.models.patch_embedding import embed_patches

GRIDS = [(1, 1), (9, 1), (56, 1), (252, 1), (1, 56), (56, 2), (28, 28)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("grid", GRIDS)
def test_vectors_are_those_of_the_convolution(grid, side, dtype):
    generator = torch.Generator().manual_seed(7)
    projection = torch.nn.Conv2d(3, 64, side, side).to(dtype)
    for parameter in projection.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype) / side
    for batch in (1, 2, 3):
        size = (batch, 3, side * grid[0], side * grid[1])
        pixels = torch.randn(size, generator=generator).to(dtype)
        exact = F.conv2d(
            pixels.double(), projection.weight.double(), projection.bias.double(), side
        )
        for _ in range(5):  # what is read by mistake is not the same each time
            found = embed_patches(projection, pixels)
            assert found.dtype == dtype
            torch.testing.assert_close(found.double(), exact, atol=0.03, rtol=0.01)
