"""Write heads, with a record of how they were made, as one safetensors file."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from dinoiser.atomic import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dinoiser.models.clip_dinoiser import DinoiserHeads

RECORDED = ("napari-dinoiser", "torch", "open-clip-torch", "timm")


def write_heads(heads: DinoiserHeads, path: Path, made_of: Mapping[str, Any]) -> None:
    """Write heads in the format that `DinoiserHeads.load` and ``--heads`` read.

    Parameters
    ----------
    heads
        The heads.
    path
        The file; it appears only once it is complete.
    made_of
        How they were made. Each value is written as JSON under its name in the file's
        metadata, along with package versions. The same input gives the same file, byte
        for byte.

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
    write_file(path, _in_order(save(tensors, metadata)))


def _in_order(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which safetensors writes in arbitrary order."""
    # 8 bytes with the length of the header, the header as JSON, then the tensors
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors must start at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[start:]


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect the weights."""
    found = {}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
