"""Devices: what "auto" means for number formats, and which errors end a job."""

import pytest
import torch

from dinoiser.errors import DeviceError
from dinoiser.models import device
from dinoiser.models.device import (
    bfloat16_speed,
    explain_precision,
    has_spoiled_cuda,
    resolve_device,
    resolve_precision,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("speed", "chosen"), [(0.1, torch.float32), (1.1, torch.float32), (2.0, torch.bfloat16)]
)
def test_auto_is_bfloat16_only_where_that_is_clearly_faster(monkeypatch, speed, chosen):
    monkeypatch.setattr(device, "bfloat16_speed", lambda: speed)
    assert resolve_precision("auto", CPU) == chosen
    assert explain_precision(CPU).startswith(f"bfloat16 is {speed:g} times as fast")


def test_a_precision_that_is_named_is_not_measured(monkeypatch):
    monkeypatch.setattr(device, "bfloat16_speed", pytest.fail)
    assert resolve_precision("bf16", CPU) == torch.bfloat16


def test_the_measurement_is_one_per_process_and_leaves_the_threads_as_they_are():
    threads = torch.get_num_threads()
    speed = bfloat16_speed()
    assert speed > 0
    assert bfloat16_speed() == speed
    assert torch.get_num_threads() == threads


def test_devices_that_the_driver_is_too_old_for_are_not_offered(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # which the driver itself tells
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not [name for name in device.available_devices() if "cuda" in name]


@pytest.mark.parametrize(
    ("said", "spoiled"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: no kernel image is available for execution on the device", True),
        ("CUDA error: invalid configuration argument", False),  # of one image's sizes
        ("CUDA error: out of memory", False),
        ("expected scalar type Half but found Float", False),
    ],
)
def test_only_what_spoils_cuda_for_all_images_ends_a_job(said, spoiled):
    error = RuntimeError(f"{said}\nCompile with `TORCH_USE_CUDA_DSA` to enable assertions.")
    assert has_spoiled_cuda(error) == spoiled


def test_devices_of_torch_are_taken_by_their_names():
    assert resolve_device(CPU) == resolve_device("cpu") == CPU
    with pytest.raises(DeviceError, match="'cuda:99' is not available"):
        resolve_device(torch.device("cuda:99"))
