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

    In bfloat16 by AVX-512 or AMX, the weight is laid out anew for each product,
    which takes 5 to 10 % of the time of 785 tokens. The new layout is kept here,
    and takes as much memory as the weight; results are the same.
    """
    trained = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    converted = weight.dtype != x.dtype  # by autocast
    if trained or converted or not (_lays_out(x) and _can_pack()):
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
    return _lays_out(x) and not _processor_has("amx_bf16")


def _lays_out(x: Tensor) -> bool:
    in_bfloat16 = x.device.type == "cpu" and x.dtype == torch.bfloat16
    return in_bfloat16 and _processor_has("avx512_bf16")  # as all have that have AMX


@cache
def _processor_has(instructions: str) -> bool:
    # where torch is too old to tell, its own ways are used
    can = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return can.get(instructions, False)


@cache
def _can_pack() -> bool:
    # torch has these for models that it compiles, and may rename them
    names = "_reorder_linear_weight", "_linear_pointwise"
    return all(hasattr(torch.ops.mkldnn, name) for name in names)
