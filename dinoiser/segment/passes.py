"""Decide how many windows go through a model at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dinoiser.models.base import SegmentationModel

TOKENS_AT_ONCE = {"cpu": 2048, "mps": 8192, "cuda": 32768}
"""Patches in one pass, by device: for a ViT-B/16, 2, 10 and 41 windows of 448 pixels."""
BYTES_AT_ONCE = 2**20
"""Size of the features in a pass computed by one thread. With less, the thread spends much of its
time starting operations; with more, features no longer fit into its cache.

This is one window for a ViT-B/16; for the embedded model, five in bfloat16 and two in float32.
"""


@dataclass(frozen=True)
class Passes:
    """How many windows go through a model at once.

    Attributes
    ----------
    batch_size
        The number of windows; "auto" chooses it for the device.
    one_thread
        Whether a single CPU thread computes each pass, alongside others with
        theirs. Then the result for a window does not depend on how many are in
        the pass (tested), and windows of several images may share a pass.
    """

    batch_size: int | Literal["auto"] = "auto"
    one_thread: bool = False

    def windows(self, model: SegmentationModel, size: tuple[int, int]) -> int:
        """Return how many windows of (height, width) pixels are in a pass, at least 1."""
        if self.batch_size != "auto":
            return self.batch_size
        height, width = (-(-side // model.patch_size) for side in size)
        patches = height * width
        if self.one_thread:
            bytes_each = patches * model.embedding_dim * model.dtype.itemsize
            return max(1, BYTES_AT_ONCE // bytes_each)
        tokens = TOKENS_AT_ONCE.get(model.device.type, TOKENS_AT_ONCE["cpu"])
        return max(1, tokens // patches)
