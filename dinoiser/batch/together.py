"""Several images through the model at once, for models so small that starting takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dinoiser.segment.windows import WindowLayout, cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from torch import Tensor

    from dinoiser.prompts import PromptSet
    from dinoiser.segment.segmenter import Segmenter
    from dinoiser.segmentation import Segmentation

BYTES_AT_ONCE = 2**20
"""Of features in one pass: with fewer, a thread spends much of its time between operations,
with more, they leave its cache.

One window for a ViT-B/16; for the embedded model five in bfloat16 and two in float32.
"""


def windows_together(segmenter: Segmenter) -> int:
    """How many windows suit one pass of one thread."""
    side = segmenter.windows.window // segmenter.model.patch_size
    values = side**2 * segmenter.model.embedding_dim
    return max(1, BYTES_AT_ONCE // (values * segmenter.model.dtype.itemsize))


def segment_together(
    segmenter: Segmenter, images: Sequence[np.ndarray], prompts: PromptSet
) -> list[Segmentation]:
    """Segment images as `Segmenter.segment` does, windows of one size in common passes.

    Parameters
    ----------
    segmenter
        Its `batch_size` is that of a pass.
    images
        (H, W, 3) uint8 RGB of any sizes; all their windows are in memory.
    prompts
        The classes to tell apart.
    """
    layouts = [WindowLayout.plan(image.shape[:2], segmenter.windows) for image in images]
    blocks = [list(_cut(segmenter, *pair)) for pair in zip(images, layouts, strict=True)]
    scores = iter(_score(segmenter, [block for some in blocks for block in some], prompts))
    return [
        segmenter.decide(image, layout, torch.cat([next(scores) for _ in some]), prompts)
        for image, layout, some in zip(images, layouts, blocks, strict=True)
    ]


def _cut(segmenter: Segmenter, image: np.ndarray, layout: WindowLayout) -> Iterator[Tensor]:
    """Give the windows (n, 3, h, w) of each block."""
    pixels = segmenter.to_working_size(image, layout)
    for blocks in layout.blocks:
        for block in blocks:
            yield cut(pixels, block.windows)


def _score(segmenter: Segmenter, blocks: list[Tensor], prompts: PromptSet) -> list[Tensor]:
    """Scores (n, K, h, w) of the windows of each block."""
    scores: dict[int, Tensor] = {}
    for shape in dict.fromkeys(block.shape[1:] for block in blocks):
        some = [i for i, block in enumerate(blocks) if block.shape[1:] == shape]
        passes = torch.cat([blocks[i] for i in some]).split(int(segmenter.batch_size))
        found = [segmenter.score(segmenter.model.encode_image(part), prompts) for part in passes]
        counts = [len(blocks[i]) for i in some]
        scores.update(zip(some, torch.cat(found).split(counts), strict=True))
    return [scores[i] for i in range(len(blocks))]
