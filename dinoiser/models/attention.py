"""Self-attention of a tower, by what is fastest on this processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from dinoiser.models.linear import lacks_amx, linear

if TYPE_CHECKING:
    from torch import Tensor, nn

ROWS_AT_ONCE = 1024
"""Queries of a head whose weights are in memory together."""


def self_attention(
    attention: nn.MultiheadAttention, x: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Let tokens (B, N, C) attend to each other, and project what they find.

    That is what the module itself computes, with a mask (N, N) that is added.
    On a CPU it would build all N x N weights of all heads at once, and project
    each row of a batch by itself.
    """
    # a text tower, which masks, runs once for each word: too seldom to keep a second layout
    project = linear if mask is None else F.linear
    projected = project(x, attention.in_proj_weight, attention.in_proj_bias)
    # (B, N, 3 C) -> three of (B, heads, N, C / heads)
    queries, keys, values = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(
        2, 0, 3, 1, 4
    )
    # torch's own is slow without AMX; the tokens of a sentence, which has a mask, are few
    if mask is None and lacks_amx(projected):
        attended = attend_by_head(queries, keys, values)
    else:
        attended = F.scaled_dot_product_attention(queries, keys, values, mask)
    joined = attended.transpose(1, 2).flatten(2)
    return project(joined, attention.out_proj.weight, attention.out_proj.bias)


def attend_by_head(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Do as `scaled_dot_product_attention`, by plain products of one head's tokens at a time.

    Parameters
    ----------
    queries, keys, values
        (B, heads, N, C / heads).
    """
    queries = queries * queries.shape[-1] ** -0.5
    attended = torch.empty_like(queries)
    for b, head in torch.cartesian_prod(*map(torch.arange, queries.shape[:2])).tolist():
        mine = keys[b, head].T
        for rows, found in zip(
            queries[b, head].split(ROWS_AT_ONCE), attended[b, head].split(ROWS_AT_ONCE), strict=True
        ):
            found.copy_((rows @ mine).softmax(-1) @ values[b, head])
    return attended
