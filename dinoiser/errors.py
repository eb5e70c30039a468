"""The errors that dinoiser raises for something a person can put right.

::

    DinoiserError
    ├── InputError (ValueError)       something given is wrong
    │   ├── ImageError                an image cannot be read, or not without guessing
    │   ├── PromptError               classes, phrases, colours or the prompt file
    │   └── SettingsError             window sizes, thresholds and other settings
    ├── ModelError (RuntimeError)     a model cannot be had
    │   ├── UnknownModelError         no such name in the catalogue
    │   ├── DeviceError               no such device on this machine
    │   ├── CheckpointError           a weights file is unsafe, unreadable or does not fit
    │   └── WeightsError              a weights file is missing or could not be fetched
    ├── TrainingError (RuntimeError)  heads cannot be fitted any further
    ├── ClusterError (RuntimeError)   a scheduler or its workers cannot be used
    └── OutputError (OSError)         a result cannot be written

Every message says what was wrong, the value received, what was expected and
the cure, in one sentence that can be shown as it is.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Give a hint at the name that is most like one that is not known; empty where none is."""
    nearest = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


class DinoiserError(Exception):
    """Base of all errors that dinoiser raises on purpose."""


class InputError(DinoiserError, ValueError):
    """Something that the caller gave is wrong."""


class ImageError(InputError):
    """An image cannot be read, or only by guessing what its axes mean."""


class PromptError(InputError):
    """The classes, phrases, colours or prompt file are wrong."""


class SettingsError(InputError):
    """A setting is out of its range or contradicts another."""


class ModelError(DinoiserError, RuntimeError):
    """A model cannot be had."""


class UnknownModelError(ModelError):
    """The catalogue holds no model of this name."""


class DeviceError(ModelError):
    """The device that was asked for is not on this machine."""


class CheckpointError(ModelError):
    """A weights file is unsafe, unreadable or does not fit the model."""


class WeightsError(ModelError):
    """A weights file is missing or could not be fetched."""


class TrainingError(DinoiserError, RuntimeError):
    """Fitting heads came to a point from which it cannot go on."""


class ClusterError(DinoiserError, RuntimeError):
    """A dask scheduler cannot be reached, is gone, or its workers cannot do the work."""


class OutputError(DinoiserError, OSError):
    """A result cannot be written."""
