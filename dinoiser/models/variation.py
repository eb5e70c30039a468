"""The settings in which the rows of CLIP-DINOiser's tables differ, as a part of a model's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError

from dinoiser.errors import SettingsError, no_such
from dinoiser.weights.files import FrozenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

Pooling = Literal["heads", "clip-keys", "dino-values", "dino-keys", "dino-queries", "none"]
Objects = Literal["heads", "found", "none"]


class Variation(FrozenModel):
    """Where the two kinds of guidance come from.

    ``pooling`` decides which patches are averaged: the learnt heads, the keys of CLIP's
    last block, or the values, keys or queries of DINO's. ``objects`` tells objects from
    background: the learnt heads, or FOUND. "none" leaves either out. ``gamma`` is the
    threshold of the correlations; None for the model's own.
    """

    pooling: Pooling = "heads"
    objects: Objects = "heads"
    gamma: float | None = Field(default=None, ge=0, lt=1)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Make it from names and values, such as those of a file.

        Raises
        ------
        SettingsError
            Lists the names that are unknown and the values that are not allowed.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = "; ".join(_problem(one["type"], one) for one in error.errors())
            msg = f"The model cannot be varied like this: {problems}."
            raise SettingsError(msg) from error

    @property
    def uses_heads(self) -> bool:
        """Whether learnt heads are needed."""
        return "heads" in (self.pooling, self.objects)

    @property
    def background(self) -> Literal["objectness", "class"]:
        """See `ModelEntry.background`."""
        return "class" if self.objects == "none" else "objectness"

    def name(self, model: str) -> str:
        """Return the name of a model with this variation."""
        given = self.model_dump(exclude_defaults=True)
        return ":".join([model, *(f"{name}={value}" for name, value in given.items())])


def split_name(name: str) -> tuple[str, Variation | None]:
    """Split ``MODEL:SETTING=VALUE...`` into the model's name and its variation, if there is one.

    Raises
    ------
    SettingsError
        See `Variation.of`.
    """
    parts = name.split(":")
    settings = dict(part.split("=", 1) for part in parts if "=" in part)
    model = ":".join(part for part in parts if "=" not in part)
    return model, Variation.of(settings) if settings else None


def _problem(kind: str, error: Mapping[str, Any]) -> str:
    name = ".".join(map(str, error["loc"]))
    if kind == "extra_forbidden":
        return no_such(name, list(Variation.model_fields))
    expected = error.get("ctx", {}).get("expected")
    wanted = f"expected {expected}" if expected else "expected at least 0 and below 1"
    return f"{name} is {error['input']!r}, {wanted}"
