"""Attention by heads gives what torch's own gives."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dinoiser.models.attention import ROWS_AT_ONCE, attend_by_head, self_attention


@pytest.mark.parametrize("tokens", [5, ROWS_AT_ONCE, ROWS_AT_ONCE + 3])
def test_heads_one_by_one_attend_as_all_together(tokens):
    torch.manual_seed(0)
    # views, as of projected tokens
    queries, keys, values = torch.randn(3, 2, tokens, 3, 8).transpose(2, 3)
    expected = F.scaled_dot_product_attention(queries, keys, values)
    assert torch.allclose(attend_by_head(queries, keys, values), expected, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_it_is_what_the_module_computes(dtype, tolerance, masked):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(24, 3, batch_first=True).eval()
    nn.init.normal_(module.in_proj_bias)
    x = torch.randn(2, 50, 24)
    mask = torch.full((50, 50), -torch.inf).triu(1) if masked else None
    with torch.inference_mode():
        expected, _ = module(x, x, x, need_weights=False, attn_mask=mask)
        found = self_attention(
            module.to(dtype), x.to(dtype), None if mask is None else mask.to(dtype)
        )
    assert found.dtype == dtype
    assert torch.allclose(found.float(), expected, atol=tolerance)
