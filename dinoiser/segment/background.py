"""The background filter: unsure patches that look like no object become background."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def apply_background(probabilities: Tensor, foreground: Tensor, delta: float = 0.99) -> Tensor:
    """Give patches to the background that are both unsure and not objects.

    Where the highest probability is below `delta` and the objectness is not
    above one half, channel 0 becomes 1; the others stay as they are, so that
    a patch's sum can exceed 1 (section 3.5 of CLIP-DINOiser; the values are
    those of the published code, whose own step is wrong for batches above 1).

    Parameters
    ----------
    probabilities
        (B, K, h, w) in [0, 1]; channel 0 is the background.
    foreground
        (B, h, w) objectness logits; one half is a logit of 0.
    delta
        Patches at least this sure are left alone.

    Returns
    -------
    Tensor
        (B, K, h, w), a new tensor.
    """
    background = (probabilities.amax(1) < delta) & (foreground <= 0)
    filtered = probabilities.clone()
    filtered[:, 0].masked_fill_(background, 1.0)
    return filtered
