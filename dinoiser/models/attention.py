"""Self-attention of a tower, by what is fastest on this processor."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

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
    projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    # (B, N, 3 C) -> three of (B, heads, N, C / heads)
    queries, keys, values = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(
        2, 0, 3, 1, 4
    )
    if (
        mask is None  # the tokens of a sentence are few
        and projected.device.type == "cpu"
        and projected.dtype == torch.bfloat16
        and _lacks_amx()
    ):
        attended = attend_by_head(queries, keys, values)
    else:
        attended = F.scaled_dot_product_attention(queries, keys, values, mask)
    joined: Tensor = attention.out_proj(attended.transpose(1, 2).flatten(2))
    return joined


@cache
def _lacks_amx() -> bool:
    """Whether the processor multiplies in bfloat16, but only by AVX-512.

    torch's own attention is then no faster in bfloat16 than in float32, as it
    asks for AMX.
    """
    # where torch is too old to tell, its own attention is used
    can = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return can.get("avx512_bf16", False) and not can.get("amx_bf16", False)


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
