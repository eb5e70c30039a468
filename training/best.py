"""The best heads of a fit: those that agree best with the teacher on images kept back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from .validation import Agreement, agreement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dinoiser.models.clip_dinoiser import DinoiserHeads

    from .settings import FitSettings
    from .student import Prepared


class BestHeads:
    """Judges the heads of some steps, the start included, and keeps the best.

    Parameters
    ----------
    prepared
        Outputs of the frozen networks for the images kept back.
    settings
        Settings of the fit.

    Attributes
    ----------
    judged
        Agreement of the heads of each judged step.
    weights
        The best heads' weights; empty before anything was judged.
    """

    def __init__(self, prepared: Sequence[Prepared], settings: FitSettings) -> None:
        self.prepared, self._settings = prepared, settings
        self.judged: dict[int, Agreement] = {}
        self.weights: dict[str, Tensor] = {}

    @property
    def step(self) -> int:
        """The step of the best heads."""
        return best_step(self.judged)

    def judge(self, step: int, heads: DinoiserHeads) -> None:
        """Judge the heads of a step, and keep them if they are the best so far."""
        settings = self._settings
        self.judged[step] = agreement(heads, self.prepared, settings.similar)
        if self.step == step:
            self.weights = {n: t.detach().cpu().clone() for n, t in heads.state_dict().items()}

    def dump(self) -> str:
        """Return the agreements as JSON."""
        return json.dumps(
            {s: [a.pairs.tolist(), a.objects.tolist()] for s, a in self.judged.items()}
        )

    def restore(self, judged: str, weights: Mapping[str, Tensor]) -> None:
        """Restore what `dump` returned, and the weights."""
        self.judged = {
            int(step): Agreement(*(np.array(values, float) for values in both))
            for step, both in json.loads(judged).items()
        }
        self.weights = dict(weights)


def best_step(judged: Mapping[int, Agreement]) -> int:
    """Return the step with the best mean agreement; the first of several.

    Where agreement says nothing, it is the last step.
    """
    if not any(one.says_something for one in judged.values()):
        return max(judged)
    return max(sorted(judged), key=lambda step: float(np.nanmean(judged[step].overall)))
