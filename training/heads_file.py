"""Heads with everything that made them, as one safetensors file."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from dinoiser.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dinoiser.models.clip_dinoiser import DinoiserHeads

RECORDED = ("napari-dinoiser", "torch", "open-clip-torch", "timm")


def write_heads(heads: DinoiserHeads, path: Path, made_of: Mapping[str, Any]) -> None:
    """Write heads in the form that `DinoiserHeads.load` and ``--heads`` read.

    Parameters
    ----------
    heads
        Any.
    path
        Takes its name only once it is whole.
    made_of
        What made them; each value is written as JSON under its name in the file's
        metadata, the versions of the packages beside them.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in heads.state_dict().items()}
    metadata = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in {**made_of, "versions": versions()}.items()
    }
    with atomic_file(path) as file:
        file.write(save(tensors, metadata))


def versions() -> dict[str, str]:
    """Versions of the packages that the weights depend on."""
    found = {}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
