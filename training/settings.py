"""Settings for fitting heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from dinoiser.errors import SettingsError

Weighting = Literal["published", "balanced"]
PUBLISHED_STEPS = 6300
PUBLISHED_MILESTONE = 5000
"""Step of the published run after which both learning rates drop."""

RECIPES: dict[str, dict[str, Any]] = {
    "published": {},
    "balanced": {
        "weighting": "balanced",
        "whiten": True,
        "projection_dim": 512,
        "rate": 2e-3,
        "gamma": 0.85,
    },
}
"""The paper's recipe, and one in which small segments have the same weight as large ones."""


@dataclass(frozen=True)
class FitSettings:
    """Settings for fitting heads; the defaults are the paper's.

    Attributes
    ----------
    steps
        Number of gradient steps.
    batch_size
        Number of crops per step.
    crop
        Side of the square crops in pixels; the shorter side of images is resized to it.
    weighting
        "published": all patches and all pairs of patches have equal weight in the losses.
        "balanced": all pairs of segments have equal weight, and so have objects and
        background, see `losses.correlation_loss`.
    whiten
        Fit in the whitened space of the backbone's tokens, see `whitening.TokenWhitening`.
    sample
        Number of images per epoch; if the folder has fewer, they are repeated.
    projection_dim
        Length of the vectors by which patches are compared.
    kernel_size
        Side of the convolution that makes them, an odd number of patches.
    guide_block
        The block of CLIP that the heads read, see `MaskClip.guide_block`.
    rate, background_rate
        Learning rates of the heads `obj_proj` and `bkg_decoder`.
    weight_decay
        Weight decay of AdamW.
    brightness
        Brightness of crops is changed by a factor in [1 - brightness, 1 + brightness].
    decay, decay_at
        Factor of both learning rates after this share of the steps.
    similar
        Cosine from which the teacher considers two patches similar: gamma in the paper.
    gamma
        Threshold of the correlations when the heads are used.
    seed
        Seed of all randomness.
    """

    steps: int = PUBLISHED_STEPS
    batch_size: int = 16
    crop: int = 448
    weighting: Weighting = "published"
    whiten: bool = False
    sample: int = 1000
    projection_dim: int = 256
    kernel_size: int = 3
    guide_block: int | Literal["final"] = -3
    rate: float = 5e-5
    background_rate: float = 1e-2
    weight_decay: float = 0.01
    brightness: float = 0.5
    decay: float = 0.1
    decay_at: float = PUBLISHED_MILESTONE / PUBLISHED_STEPS
    similar: float = 0.2
    gamma: float = 0.2
    seed: int = 0

    @classmethod
    def of_recipe(cls, name: str, **changes: Any) -> Self:
        """Return the settings of one of `RECIPES`, with changes."""
        if name not in RECIPES:
            msg = f"recipe is {name!r}, expected one of {', '.join(RECIPES)}."
            raise SettingsError(msg)
        return cls(**{**RECIPES[name], **changes})

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, expected at least {least}"
            for name, least in (
                ("steps", 1),
                ("batch_size", 1),
                ("crop", 32),
                ("sample", 1),
                ("projection_dim", 1),
                ("seed", 0),
            )
            if (value := getattr(self, name)) < least
        ]
        problems += [
            f"{name} is {getattr(self, name)}, expected a number above 0"
            for name in ("rate", "background_rate")
            if not getattr(self, name) > 0
        ]
        problems += [
            f"{name} is {value}, expected at least 0 and below 1"
            for name in ("brightness", "similar", "gamma", "weight_decay")
            if not 0 <= (value := getattr(self, name)) < 1
        ]
        problems += [
            f"{name} is {value}, expected a number from 0 to 1"
            for name in ("decay", "decay_at")
            if not 0 <= (value := getattr(self, name)) <= 1
        ]
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            problems.append(f"kernel_size is {self.kernel_size}, expected an odd number")
        elif self.whiten and self.kernel_size != 3:
            problems.append(f"kernel_size is {self.kernel_size}, expected 3 where whiten is true")
        if self.guide_block != "final" and self.guide_block >= 0:
            problems.append(f"guide_block is {self.guide_block}, expected one below 0, or final")
        if self.weighting not in get_args(Weighting):
            problems.append(f"weighting is {self.weighting!r}, expected published or balanced")
        if problems:
            msg = f"Heads cannot be fitted with these settings: {'; '.join(problems)}."
            raise SettingsError(msg)

    @property
    def milestone(self) -> int:
        """Steps after which the rates drop."""
        return round(self.steps * self.decay_at)
