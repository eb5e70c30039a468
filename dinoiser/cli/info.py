"""`dinoiser info`: what a bug report needs."""

from __future__ import annotations

import platform
from typing import Any

from dinoiser.cli import options
from dinoiser.cli.console import print_json, say

PACKAGES = (
    "napari-dinoiser",
    "torch",
    "open-clip-torch",
    "numpy",
    "pillow",
    "pillow-heif",
    "tifffile",
    "scikit-image",
    "napari",
)

EXAMPLE = options.example("dinoiser info --json > info.json")


def info(as_json: options.Json = False) -> None:
    """Show versions, devices, the cache folder and the cached models."""
    document = _collect()
    if as_json:
        print_json(document)
        return
    for key, value in document.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            say(f"{name}:")
            width = max(map(len, value))
            for part, item in value.items():
                say(f"  {part:{width}}  {item}")
        else:
            say(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def _collect() -> dict[str, Any]:
    from dinoiser.models.catalog import list_models
    from dinoiser.models.device import (
        available_devices,
        explain_precision,
        resolve_device,
        resolve_precision,
    )
    from dinoiser.weights.files import cache_dir

    device = resolve_device("auto")
    return {
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "devices": available_devices(),
        "precision": str(resolve_precision("auto", device)).removeprefix("torch."),
        "precision_reason": explain_precision(device),
        "cache": str(cache_dir()),
        "versions": {name: _version(name) for name in PACKAGES},
        "models": {
            model.name: "cached" if model.cached else "not cached" for model in list_models()
        },
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
