"""Resolve devices and number formats by name."""

from __future__ import annotations

import torch
from torch import Tensor

from dinoiser.errors import DeviceError, SettingsError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def available_devices() -> list[str]:
    """Names of this machine's devices, fastest first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_device(name: str) -> torch.device:
    """Resolve a device from "auto", "cpu", "cuda", "cuda:1" or "mps".

    Raises
    ------
    DeviceError
        The name is unknown, or this machine has no such device.
    """
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    if name == "cuda" and "cuda:0" in available:
        return torch.device("cuda:0")
    if name in available:
        return torch.device(name)
    msg = (
        f"Device {name!r} is not available on this machine, which has {', '.join(available)}; "
        "choose one of these, or 'auto'."
    )
    raise DeviceError(msg)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Resolve a number format from "auto", "fp32", "bf16" or "fp16".

    "auto" means bf16 where the processor supports it in hardware (CUDA from
    Ampere on, CPUs with AMX), otherwise fp32.

    Raises
    ------
    SettingsError
        The name is unknown.
    """
    if name in PRECISIONS:
        return PRECISIONS[name]
    if name != "auto":
        msg = f"precision is {name!r}, expected 'auto', {', '.join(map(repr, PRECISIONS))}."
        raise SettingsError(msg)
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    else:
        fast = device.type == "cpu" and _has_amx()
    return torch.bfloat16 if fast else torch.float32


def to_float64(tensor: Tensor) -> Tensor:
    """Convert a tensor to float64, on the CPU if it is on an Apple GPU, which has no float64."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _has_amx() -> bool:
    """Whether this CPU multiplies bf16 matrices; False if torch is too old to tell."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    return capabilities is not None and bool(capabilities().get("amx_bf16"))
