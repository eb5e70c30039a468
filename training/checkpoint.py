"""Save and restore a fit, so that it continues as if it had not been interrupted."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dinoiser.atomic import write_file
from dinoiser.errors import CheckpointError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from dinoiser.images.settings import ReadSettings

    from .best import BestHeads

_OF_DIGEST = {"data": "the images were others", "backbone": "the model's weights were others"}
"""What to say where a digest differs, which says nothing to a person."""


@dataclass(frozen=True)
class FitState:
    """The state of a fit that changes with every step; batches and rates follow from the step."""

    student: nn.Module
    optimizer: torch.optim.Optimizer
    best: BestHeads

    def save(self, path: Path, step: int, made_of: Mapping[str, Any]) -> None:
        """Write weights, optimiser moments, the best heads and the steps done to one file."""
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"student.{name}": value for name, value in self.student.state_dict().items()}
        for number, values in moments.items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.weights.items()}
        metadata = {
            "step": str(step),
            "made_of": json.dumps(made_of),
            "judged": self.best.dump(),
        }
        content = save({name: t.contiguous() for name, t in tensors.items()}, metadata)
        write_file(path, content)

    def load(self, path: Path, made_of: Mapping[str, Any]) -> int:
        """Restore what `save` wrote, and return the number of steps done.

        Raises
        ------
        SettingsError
            The fit was started with other settings, images or models.
        CheckpointError
            The file is damaged.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                # copies, as tensors from a file hold it open, and the fit is to replace it
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            step, before = int(metadata["step"]), json.loads(metadata["made_of"])
            judged = metadata["judged"]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(path, error) from error
        _refuse_other(before, made_of)
        self._restore(tensors, judged)
        return step

    def _restore(self, tensors: Mapping[str, torch.Tensor], judged: str) -> None:
        # names are "student.NAME", "best.NAME" and "optimizer.NUMBER.MOMENT", as `save` wrote them
        moments: dict[int, dict[str, torch.Tensor]] = {}
        weights: dict[str, dict[str, torch.Tensor]] = {"student": {}, "best": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind in weights:
                weights[kind][rest] = value
            else:
                number, _, moment = rest.partition(".")
                moments.setdefault(int(number), {})[moment] = value
        self.student.load_state_dict(weights["student"])
        self.best.restore(judged, weights["best"])
        # rates are set anew at every step, so only the moments are restored
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def refuse_other_reading(path: Path, reading: ReadSettings) -> None:
    """Refuse to go on with images that are read in another way, before they are.

    Raises
    ------
    SettingsError
        The checkpoint is of a fit that read them so.
    CheckpointError
        It is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            before = json.loads(file.metadata()["made_of"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error
    names = [field.name for field in fields(reading)]
    _refuse_other({name: before.get(name) for name in names}, reading.described())


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {path} cannot be read ({error}): delete it and start over."
    )


def _refuse_other(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differences = [
        _OF_DIGEST.get(name) or f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if differences:
        msg = (
            f"The unfinished fit was started with other settings: {'; '.join(differences)}; use "
            "the same ones, or write to another file."
        )
        raise SettingsError(msg)
