"""Resolve devices and number formats by name."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import linear

from dinoiser.errors import DeviceError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

WORTH_IT = 1.2
"""How many times as fast as float32 bfloat16 must be to be chosen on a CPU: far from 1, as hardware
has it or has not, so that all runs on a machine choose the same."""
SECONDS_TO_MEASURE = 0.05
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What torch says where it has no class for it: libraries on CUDA allocate for themselves, too."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device, or the machine, has too little memory."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(text in str(error) for text in _NO_MEMORY)


def has_spoiled_cuda(error: BaseException) -> bool:
    """Whether after an error, as of an illegal memory access, no work on CUDA succeeds any more.

    Arguments that a kernel refuses are those of one image: others go on.
    """
    text = str(error)
    is_of_one_call = "invalid argument" in text or "invalid configuration argument" in text
    return "CUDA error:" in text and not is_of_one_call and not is_out_of_memory(error)


def available_devices() -> list[str]:
    """Names of this machine's devices, fastest first."""
    # a driver that is too old has devices that torch cannot use
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = [f"cuda:{i}" for i in range(count)]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_device(name: str | torch.device) -> torch.device:
    """Resolve a device from "auto", "cpu", "cuda", "cuda:1" or "mps", or from torch's own.

    Raises
    ------
    DeviceError
        The name is unknown, or this machine has no such device.
    """
    name, available = str(name), available_devices()
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


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Move values of the processor's to a device; CUDA is not waited for.

    CUDA takes a copy of them first. Others may read their memory later, when it holds something
    else: on Apple's GPUs, torch's issues 139550 and 189690.
    """
    return values.to(device, non_blocking=device.type == "cuda")


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Resolve a number format from "auto", "fp32", "bf16" or "fp16".

    "auto" means bf16 where it is faster: on CUDA from Ampere on, and on CPUs
    where products of matrices, measured once per process, take less time in it.
    Otherwise it means fp32.

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
        fast = device.type == "cpu" and bfloat16_speed() >= WORTH_IT
    return torch.bfloat16 if fast else torch.float32


def explain_precision(device: torch.device) -> str:
    """Say in a sentence what "auto" depends on, see `resolve_precision`."""
    if device.type == "cpu":
        return (
            f"bfloat16 is {bfloat16_speed():.2g} times as fast as float32 on this processor, and "
            f"chosen from {WORTH_IT:g} times on"
        )
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"this GPU has compute capability {major}.{minor}; bfloat16 is chosen from 8.0 on"
    return f"bfloat16 is not chosen on {device.type}"


@cache
def bfloat16_speed() -> float:
    """Measure how many times as fast this CPU multiplies in bfloat16 as in float32."""
    least = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    # of this thread's own work: on a busy machine, it would else be over before a quiet moment
    start, rounds = time.thread_time(), 0
    with one_thread(), torch.inference_mode():
        # the first round of each is slower; where bfloat16 is emulated, two take long enough
        while rounds < 2 or time.thread_time() - start < SECONDS_TO_MEASURE:
            rounds += 1
            for dtype in least:
                least[dtype] = min(least[dtype], _seconds_to_multiply(dtype))
    return least[torch.float32] / least[torch.bfloat16]


def _seconds_to_multiply(dtype: torch.dtype) -> float:
    tokens, weights = torch.ones(64, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    start = time.perf_counter()
    linear(tokens, weights)
    return time.perf_counter() - start


@contextmanager
def own_torch() -> Iterator[None]:
    """Keep a caller's autocast, default device and inference mode, meant for theirs, from ours."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda", "mps"):
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():  # what is made in it is of little use outside
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let one thread compute each operation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def to_float64(tensor: Tensor) -> Tensor:
    """Convert a tensor to float64, on the CPU if it is on an Apple GPU, which has no float64."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
