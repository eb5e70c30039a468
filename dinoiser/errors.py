"""The errors that dinoiser raises for problems that the user can fix.

::

    DinoiserError
    ├── InputError (ValueError)       an argument, file or setting is wrong
    │   ├── ImageError                an image cannot be read without guessing
    │   ├── PromptError               classes, phrases, colours or the prompt file
    │   └── SettingsError             window sizes, thresholds and other settings
    ├── ModelError (RuntimeError)     a model cannot be loaded
    │   ├── UnknownModelError         the catalogue has no such name
    │   ├── DeviceError               this machine has no such device, or it failed
    │   ├── CheckpointError           a weights file is unsafe, unreadable or does not fit
    │   └── WeightsError              a weights file is missing or could not be fetched
    ├── TrainingError (RuntimeError)  fitting the heads cannot continue
    ├── ClusterError (RuntimeError)   a scheduler or its workers cannot be used
    └── OutputError (OSError)         a result cannot be written
        └── PlaceError                a result cannot have its name

Every message says in one sentence what was wrong, which value was received,
what was expected and how to fix it. It can be shown to the user unchanged.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Suggest the known name closest to an unknown one; empty if none is close."""
    nearest = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def no_such(name: str, names: Sequence[str]) -> str:
    """Say that a setting's name is unknown, and which names there are."""
    return f"there is no {name!r}{did_you_mean(name, names)}, expected {', '.join(names)}"


def reason_of(error: Exception) -> str:
    """Say on one line what another library's error says, or its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class DinoiserError(Exception):
    """Base of all errors that dinoiser raises on purpose."""


class InputError(DinoiserError, ValueError):
    """An argument, file or setting is wrong."""


class ImageError(InputError):
    """An image cannot be read, or only by guessing what its axes mean."""


class PromptError(InputError):
    """The classes, phrases, colours or prompt file are wrong."""


class SettingsError(InputError):
    """A setting is out of its range or contradicts another."""


def refuse_settings(problems: Iterable[str]) -> None:
    """Raise one `SettingsError` with all that is wrong with some settings, if anything is."""
    sentence = "; ".join(problems)
    if sentence:
        msg = f"{sentence}."
        raise SettingsError(msg)


class ModelError(DinoiserError, RuntimeError):
    """A model cannot be loaded."""


class UnknownModelError(ModelError):
    """The catalogue has no model of this name."""


class DeviceError(ModelError):
    """The requested device is not available on this machine, or has failed."""


class CheckpointError(ModelError):
    """A weights file is unsafe, unreadable or does not fit the model."""


class WeightsError(ModelError):
    """A weights file is missing or could not be fetched."""


class TrainingError(DinoiserError, RuntimeError):
    """Fitting the heads cannot continue."""


class ClusterError(DinoiserError, RuntimeError):
    """A dask scheduler cannot be reached, has gone away, or its workers cannot do the work."""


class OutputError(DinoiserError, OSError):
    """A result cannot be written."""


class PlaceError(OutputError):
    """A result cannot have its name: it is too long, or something else is in the way."""
