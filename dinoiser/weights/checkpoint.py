"""Read weights files without running code in them, and check that they fit."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dinoiser.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from torch import Tensor, nn

WRAPPERS = ("model_state_dict", "state_dict", "decoder")
"""Keys under which training scripts store weights, next to the epoch, optimiser and so on.

The last is FOUND's."""
SHOWN_DIFFERENCES = 8


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the weights from a file, whatever its suffix.

    Parameters
    ----------
    path
        A safetensors file, an npz file of NumPy, or one written by ``torch.save`` that
        contains the weights by name, or a dictionary with them under one of `WRAPPERS`.

    Returns
    -------
    dict of Tensor
        The weights by name, on the CPU.

    Raises
    ------
    CheckpointError
        If the file does not exist, is not a weights file, is incomplete, or contains
        code, which is never run.
    """
    path = Path(path)
    readers = {"safetensors": _read_safetensors, "npz": _read_npz, "torch": _read_torch}
    tensors = _unwrap(readers[_kind(path)](path))
    if tensors is None:
        msg = (
            f"{path} does not contain weights by name: expected named tensors, at the top level "
            f"or under {' or '.join(WRAPPERS)}; choose another file."
        )
        raise CheckpointError(msg)
    return tensors


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty for other files.

    Raises
    ------
    CheckpointError
        If the file does not exist, is damaged or is not a weights file.
    """
    from safetensors import SafetensorError, safe_open

    if _kind(Path(path)) != "safetensors":
        return {}
    try:
        with safe_open(path, "np") as file:  # "pt" would import torch
            return file.metadata() or {}
    except SafetensorError as error:
        raise _damaged(Path(path), str(error)) from error


def check_shapes(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: str | Path | None = None,
    ignore: Collection[str] = (),
) -> None:
    """Check that weights have the names and shapes that a model expects.

    Parameters
    ----------
    tensors
        The weights by name.
    expected
        The module's ``state_dict()``; only its names and shapes matter.
    path
        Their file, for the message.
    ignore
        Names that may be missing or unexpected.

    Raises
    ------
    CheckpointError
        If a name or a shape differs; the message lists which.
    """
    differences = list(_differences(tensors, expected, frozenset(ignore)))
    if not differences:
        return
    shown = differences[:SHOWN_DIFFERENCES]
    if len(differences) > len(shown):
        shown.append(f"and {len(differences) - len(shown)} more")
    msg = (
        f"{'The weights' if path is None else path} do not fit the model: {'; '.join(shown)}; "
        "choose weights for this architecture."
    )
    raise CheckpointError(msg)


def check_numbers(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Check that weights are finite real numbers.

    Raises
    ------
    CheckpointError
        If they are complex, or any is infinite or NaN; the message lists the weights.
    """
    odd = [name for name, t in sorted(tensors.items()) if t.is_complex() or not t.isfinite().all()]
    if odd:
        msg = (
            f"{path} contains weights that are not finite real numbers ({', '.join(odd)}): choose "
            "another file, or fit the heads again."
        )
        raise CheckpointError(msg)


def load_into(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    path: str | Path | None = None,
    ignore: Collection[str] = (),
) -> None:
    """Copy weights into a module after checking every name and shape.

    Parameters
    ----------
    module
        The module; changed only if everything fits.
    tensors
        The weights by name; they are converted to the module's number format.
    path
        Their file, for the message.
    ignore
        Names that may be missing or unexpected.

    Raises
    ------
    CheckpointError
        If a name or a shape differs.
    """
    state = module.state_dict()
    check_shapes(tensors, state, path, ignore)
    module.load_state_dict({name: tensors.get(name, value) for name, value in state.items()})


def _kind(path: Path) -> Literal["safetensors", "npz", "torch"]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = file.seek(0, 2)
    except OSError as error:
        msg = f"The weights file {path} cannot be read ({error.strerror}): check the path."
        raise CheckpointError(msg) from error
    # safetensors: the length of the header in 8 bytes, then the header, which is JSON.
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    # torch: a zip file, or a pickle of protocol 2 or later; NumPy: a zip file of arrays.
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return "npz" if _holds_arrays(path) else "torch"
    msg = (
        f"{path} is not a weights file, or an unfinished one ({size} bytes): expected a "
        "safetensors or npz file, or one written by torch.save; fetch it again."
    )
    raise CheckpointError(msg)


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_npz(path: Path) -> object:
    import numpy as np
    import torch

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays}
    # arrays of objects are refused with a ValueError, numbers that torch lacks with a TypeError
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, str(error)) from error


def _read_torch(path: Path) -> object:
    import warnings
    from pickle import UnpicklingError

    import torch

    try:
        # An open file, since torch goes by the suffix of a path. Its warnings about pickle
        # protocols would only add to our own error.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code is None:
            # torch's own message would advise running the code in the file
            raise _damaged(path, "it is not a pickle of plain tensors") from error
        msg = (
            f"{path} contains code ({code[1]}) besides weights, which is not run and makes the "
            "file unsafe: use a file of plain tensors, preferably safetensors."
        )
        raise CheckpointError(msg) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> CheckpointError:
    first_line = next(iter(reason.splitlines()), "it ends too early")
    return CheckpointError(f"{path} is damaged or unfinished ({first_line}): fetch it again.")


def _unwrap(content: Any) -> dict[str, Tensor] | None:
    from torch import Tensor

    if not isinstance(content, dict):
        return None
    inner = next((content[key] for key in WRAPPERS if key in content), content)
    if not isinstance(inner, dict) or not inner:
        return None
    named = all(isinstance(k, str) and isinstance(v, Tensor) for k, v in inner.items())
    return dict(inner) if named else None


def _differences(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], ignore: frozenset[str]
) -> Iterator[str]:
    for name in sorted(expected.keys() - tensors.keys() - ignore):
        yield f"{name} is missing"
    for name in sorted(tensors.keys() - expected.keys() - ignore):
        yield f"{name} is unexpected"
    for name in sorted(tensors.keys() & expected.keys()):
        received, wanted = tuple(tensors[name].shape), tuple(expected[name].shape)
        if received != wanted:
            yield f"{name}: {received} != {wanted}"
