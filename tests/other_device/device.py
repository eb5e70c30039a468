"""A device that is not the CPU: a GPU, or where there is none, one with the CPU's memory behind it.
Importing this registers it.

As on a GPU, a tensor made for the CPU cannot meet one that was made here, and nothing here
becomes a NumPy array before it is copied. The numbers are the CPU's. Like Apple's GPUs, it takes
what nobody waits for when it has the time: whatever lies there by then. It is no GPU: streams, its
own kernels and its memory are not imitated.
"""

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "cuda" if torch.cuda.is_available() else "other"
COPIES = {"aten::copy_", "aten::_to_copy"}
INDEXING = {"aten::index", "aten::index_put_"}


class OtherTensor(torch.Tensor):
    """A tensor of the device, around one of the CPU."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=f"{NAME}:0",
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"OtherTensor({self.inner!r})"

    def tolist(self):
        return self.cpu().tolist()

    def untyped_storage(self):
        return self.inner.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            return func.decompose(*args, **kwargs)
        _check_devices(func, tree_leaves((args, kwargs)))
        given, named = tree_map(_unwrap, (args, dict(kwargs)))
        device = named.get("device")
        if device is not None:
            named["device"] = torch.device("cpu")
        result = func(*given, **named)
        written = _written(func, args, kwargs)
        if _is_read_later(func, args, kwargs):
            written.inner.zero_()
        if written is not None:
            return written
        stays = device is None or torch.device(device).type == NAME
        return tree_map(_wrap, result) if stays else result


def _check_devices(func, values):
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    name = func._schema.name
    if name in COPIES or (name in INDEXING and isinstance(tensors[0], OtherTensor)):
        return
    if any(t.dim() and not isinstance(t, OtherTensor) for t in tensors):  # single numbers may cross
        places = ", ".join(f"{t.device.type} {tuple(t.shape)}" for t in tensors)
        msg = f"{func} was given tensors of two devices: {places}"
        raise RuntimeError(msg)


def _is_read_later(func, args, kwargs):
    """Whether this takes values from the processor's memory, which nobody waits for."""
    if func._schema.name != "aten::copy_" or isinstance(args[1], OtherTensor):
        return False
    return kwargs.get("non_blocking", args[2] if len(args) > 2 else False)


def _written(func, args, kwargs):
    """Give the tensor that an operation writes into, which is also what it returns."""
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return args[i] if i < len(args) else kwargs[argument.name]
    return None


def _unwrap(value):
    return value.inner if isinstance(value, OtherTensor) else value


def _wrap(value):
    return OtherTensor(value) if isinstance(value, torch.Tensor) else value


def _make_here(make):
    def made(*args, **kwargs):
        kwargs.pop("pin_memory", None)
        return OtherTensor(make(*args, **{**kwargs, "device": torch.device("cpu")}))

    return made


def _copy_from(source, target, non_blocking=False):
    _unwrap(target).copy_(_unwrap(source))
    return target


if NAME == "cuda":
    # convolutions with 10 bits would not give the CPU's numbers
    torch.backends.cudnn.allow_tf32 = False
else:
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    # Views made under inference mode lose the class of their tensor.
    torch.inference_mode = lambda mode=True: torch.no_grad()
    LIBRARY = torch.library.Library("aten", "IMPL")
    LIBRARY.impl(
        "empty.memory_format", _make_here(torch.ops.aten.empty.memory_format), "PrivateUse1"
    )
    LIBRARY.impl("empty_strided", _make_here(torch.ops.aten.empty_strided.default), "PrivateUse1")
    LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")
