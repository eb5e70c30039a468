"""The file that tells `dinoiser evaluate` which row of a paper's tables to compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dinoiser.errors import SettingsError, no_such
from dinoiser.models.variation import Variation
from dinoiser.safe_yaml import read_mapping
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path

    from dinoiser.segment.settings import Refinement


@dataclass(frozen=True)
class EvaluationConfig:
    """How an evaluation differs from that of the model as it is.

    Attributes
    ----------
    variation
        Where the model's guidance comes from; None for the model as it is.
    refine, delta
        See `BenchmarkJob`.
    """

    variation: Variation | None = None
    refine: Refinement = "none"
    delta: float | None = None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a YAML file with the names of `Variation`, delta and refine.

        Raises
        ------
        SettingsError
            It cannot be read, or a name or value is not allowed.
        """
        given = read_mapping(path)
        names = [*Variation.model_fields, "delta", "refine"]
        for name in given:
            if name not in names:
                msg = f"{path}: {no_such(name, names)}"
                raise SettingsError(msg)
        settings = {name: given.pop(name) for name in ("delta", "refine") if name in given}
        try:
            SegmentSettings.of(**settings)  # which checks them
            return cls(Variation.of(given) if given else None, **settings)
        except SettingsError as error:
            msg = f"{path}: {error}"
            raise SettingsError(msg) from error
