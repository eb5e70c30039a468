"""The image tower against open_clip's bare visual forward: python -m benchmarks.forward.

Dense features, correlations, pooling and objectness should take no longer than
the plain image embedding.
"""

from __future__ import annotations

import copy

import torch

from benchmarks.setting import compare, describe_machine, random_model
from dinoiser.models.maskclip import position_table

SIDE = 448


def main() -> None:
    """Print ClipDinoiser.encode_image / open_clip's visual forward, batch 1 and 4, by dtype."""
    describe_machine()
    for dtype in (torch.float32, torch.bfloat16):
        model = random_model(dtype)
        bare = copy.deepcopy(model.visual)
        grid = (SIDE // model.patch_size,) * 2
        table = position_table(bare.positional_embedding, bare.grid_size, grid)
        bare.positional_embedding = torch.nn.Parameter(table, requires_grad=False)
        for batch in (1, 4):
            pixels = torch.rand(batch, 3, SIDE, SIDE)
            half = pixels.to(dtype)
            with torch.no_grad():
                compare(
                    f"{dtype}, batch {batch}: CLIP-DINOiser / open_clip",
                    lambda model=model, pixels=pixels: model.encode_image(pixels),
                    lambda bare=bare, half=half: bare(half),
                    pairs=9,
                )


if __name__ == "__main__":
    main()
