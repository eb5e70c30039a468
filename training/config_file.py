"""The file beside new heads from which the same fit can be run again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from dinoiser.atomic import write_file
from dinoiser.errors import SettingsError, did_you_mean
from dinoiser.safe_yaml import read_mapping

from .settings import FitSettings

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.images.settings import ReadSettings

NETWORKS = ("model", "precision", "teacher")
"""What a file holds besides the fields of `FitSettings` and `ReadSettings`; see `RefitJob`."""
HEADER = "# Written by `dinoiser train`; for its option --config.\n"
"""First line of our files; others are never written over."""


def write_config(
    path: Path, networks: dict[str, str], reading: ReadSettings, settings: FitSettings
) -> None:
    """Write the networks, by the names in `NETWORKS`, and all settings of a fit.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    values = {**networks, **reading.described(), **asdict(settings)}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_file(path, (HEADER + text).encode())


def refuse_to_overwrite(path: Path) -> None:
    """Refuse to write where there is a file that `write_config` has not written.

    Raises
    ------
    SettingsError
        There is one.
    """
    if path.is_file() and not path.read_bytes().startswith(HEADER.encode()):
        msg = (
            f"The settings would be written to {path}, but `dinoiser train` has not written that "
            "file: give another name for the heads, or move the file away."
        )
        raise SettingsError(msg)


def read_config(path: Path) -> dict[str, Any]:
    """Read what `write_config` wrote, or some of it.

    Returns
    -------
    dict
        Values by the names in `NETWORKS` and of the fields of `ReadSettings` and
        `FitSettings`.

    Raises
    ------
    SettingsError
        The file cannot be read, or has an unknown name or a value of the wrong kind.
    """
    reading = {"nodata": float | None, "bands": list[int] | None}
    kinds = {**dict.fromkeys(NETWORKS, str), **reading, **get_type_hints(FitSettings)}
    return {name: _read(path, name, value, kinds) for name, value in read_mapping(path).items()}


def _read(path: Path, name: str, value: object, kinds: dict[str, Any]) -> object:
    if name not in kinds:
        hint = did_you_mean(name, kinds)
        msg = f"{path} has the unknown setting {name!r}{hint}, expected {', '.join(kinds)}."
        raise SettingsError(msg)
    try:
        # whole numbers may be written as 5e2, and fractions as YAML takes for text: 5e-5
        return TypeAdapter(kinds[name]).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        msg = f"{path} has {value!r} as {name}: {problem[0].lower()}{problem[1:]}."
        raise SettingsError(msg) from error
