"""`dinoiser info`: what a bug report needs."""

from __future__ import annotations

import platform
from typing import Any

from dinoiser.cli import options  # noqa: TC001 (typer reads the annotations)
from dinoiser.cli.console import print_json, stdout

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


def info(as_json: options.Json = False) -> None:
    """Show versions, devices, the cache folder and the models that are here."""
    document = _collect()
    if as_json:
        print_json(document)
        return
    console = stdout()
    for name, value in document.items():
        lines = value.items() if isinstance(value, dict) else [("", value)]
        for key, item in lines:
            shown = ", ".join(item) if isinstance(item, list) else item
            console.print(f"{name:10} {key:16} {shown}", markup=False, soft_wrap=True)


def _collect() -> dict[str, Any]:
    from dinoiser.models.catalog import list_models
    from dinoiser.models.device import available_devices, resolve_device, resolve_precision
    from dinoiser.weights.files import cache_dir

    device = resolve_device("auto")
    return {
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": available_devices(),
        "precision": str(resolve_precision("auto", device)).removeprefix("torch."),
        "cache": str(cache_dir()),
        "models": {model.name: "here" if model.cached else "not here" for model in list_models()},
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
