"""Linear layers of a tower, by what is fastest on this processor."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from torch import Tensor


class _Packed(NamedTuple):
    """A weight as oneDNN multiplies by it, and the memory and version of which it was made."""

    weight: Tensor
    source: Tensor  # kept, so that its address is not used for another weight
    version: int


_PACKED = WeakTensorKeyDictionary()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Do as `torch.nn.functional.linear`, for a weight that is used again and again.

    In bfloat16 by AVX-512, the weight is laid out anew for each product, which
    takes 5 to 8 % of the time of 785 tokens. The new layout is kept here, and
    takes as much memory as the weight; results are the same.
    """
    trained = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    converted = weight.dtype != x.dtype  # by autocast
    if trained or converted or not (lacks_amx(x) and _can_pack()):
        return F.linear(x, weight, bias)
    packed = _PACKED.get(weight)
    if (
        packed is None
        or packed.source.data_ptr() != weight.data_ptr()
        or packed.version != weight._version
    ):
        source = weight.detach()
        laid_out = torch.ops.mkldnn._reorder_linear_weight(source)
        packed = _PACKED[weight] = _Packed(laid_out, source, weight._version)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed.weight, bias, "none", [], "")
    return found


def mlp(layers: Any, x: Tensor) -> Tensor:
    """Run the two-layer network of an open_clip block."""
    first, last = layers.c_fc, layers.c_proj
    return linear(layers.gelu(linear(x, first.weight, first.bias)), last.weight, last.bias)


def lacks_amx(x: Tensor) -> bool:
    """Whether products with `x` are in bfloat16, but by AVX-512 only."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and _processor_lacks_amx()


@cache
def _processor_lacks_amx() -> bool:
    # where torch is too old to tell, its own ways are used
    can = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return can.get("avx512_bf16", False) and not can.get("amx_bf16", False)


@cache
def _can_pack() -> bool:
    # torch has these for models that it compiles, and may rename them
    names = "_reorder_linear_weight", "_linear_pointwise"
    return all(hasattr(torch.ops.mkldnn, name) for name in names)
