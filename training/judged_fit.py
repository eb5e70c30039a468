"""A fit whose heads are judged on images kept back: once, or in turns where images are few."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dinoiser.atomic import remove_file

from .best import best_step
from .student import new_heads
from .teachers import SegmentTeacher
from .validation import Agreement, agreement, taught_by_regions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dinoiser.models.clip_dinoiser import DinoiserHeads

    from .data import FitData
    from .fit import Fit, FitProgress, FitResult
    from .images import TrainingImages


@dataclass(frozen=True)
class Judgement:
    """What is known about new heads.

    Attributes
    ----------
    step
        The step of the new heads: the best one.
    agreements
        Agreement with the teacher on images kept back of the "new" heads, the "shipped"
        ones, if the model has any, and "untrained" ones.
    second_opinion
        Agreement of the "new" and the "shipped" heads with regions of similar colour, a
        teacher of neither; empty where there are no shipped heads, or where the teacher had
        segments itself.
    kept_back
        Images kept back, each time with heads that have not learnt from them.
    """

    step: int
    agreements: dict[str, Agreement]
    second_opinion: dict[str, Agreement]
    kept_back: list[tuple[DinoiserHeads, TrainingImages]]

    @property
    def says_something(self) -> bool:
        """Whether the teacher tells enough apart on these images."""
        return self.agreements["new"].says_something

    @property
    def not_beaten(self) -> list[str]:
        """Names of the heads than which the new ones are not better."""
        new = self.agreements["new"]
        return [
            name
            for name, other in self.agreements.items()
            if name != "new" and not new.is_better_than(other)
        ]

    @property
    def is_doubted(self) -> bool:
        """Whether the second opinion, if there is one, sees no gain over the shipped heads.

        New heads agree better with their own teacher than others do, even where it is wrong.
        """
        if not self.second_opinion or not self.second_opinion["new"].says_something:
            return False
        new, shipped = self.second_opinion["new"], self.second_opinion["shipped"]
        return not new.is_better_than(shipped)

    @property
    def are_better(self) -> bool:
        """Whether the new heads are worth using."""
        return self.says_something and not self.not_beaten and not self.is_doubted


class JudgedFit:
    """One fit; or one for each fold of the images, and a last one to all of them.

    Folds tell after how many steps heads agree best with the teacher on images that they have not
    learnt from. The last fit ends there.

    Parameters
    ----------
    make
        Makes a fit to images in a folder.
    data
        The images; see `FitData.folds`.
    folder
        Folder of the last fit; those of folds are inside.
    """

    def __init__(self, make: Callable[[FitData, Path], Fit], data: FitData, folder: Path) -> None:
        self._make, self._data, self._folder = make, data, folder
        parts = data.folds()
        places = [folder / f"fold-{number}" for number in range(1, len(parts) + 1)]
        self._has_folds = len(parts) > 1
        self.fits = [
            make(*one) for one in zip(parts, places if self._has_folds else [folder], strict=True)
        ]
        self._results: list[FitResult] = []

    @property
    def passes(self) -> int:
        """Number of fits."""
        return len(self.fits) + self._has_folds

    def run(
        self,
        resume: bool = False,
        progress: Callable[[FitProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FitResult:
        """Run all fits, see `Fit.run`; the result is that of the last."""
        for number, fit in enumerate(self.fits):
            resumed = resume and fit.checkpoint.is_file()
            result = fit.run(resumed, self._shifted(progress, number), cancelled)
            if not result.finished:
                return result
            self._results.append(result)
        if not self._has_folds:
            return result
        last = self._make(self._data, self._folder)
        resumed = resume and last.checkpoint.is_file()
        shifted = self._shifted(progress, len(self.fits))
        return last.run(resumed, shifted, cancelled, until=best_step(self._judged()))

    def judge(self, shipped: DinoiserHeads | None) -> Judgement:
        """Compare the new heads of a finished fit with others.

        Parameters
        ----------
        shipped
            The model's own heads, if it has any.
        """
        judged, first = self._judged(), self.fits[0]
        step, settings = best_step(judged), first.settings
        others = {"shipped": shipped} if shipped else {}
        others["untrained"] = new_heads(first.model, settings)
        prepared = [part for fit in self.fits for part in fit.best.prepared]
        agreements = {"new": judged[step]} | {
            name: agreement(heads, prepared, settings.similar) for name, heads in others.items()
        }
        kept_back = [
            (result.heads, fit.data.held_out)
            for fit, result in zip(self.fits, self._results, strict=True)
        ]
        has_segments = isinstance(first.teacher, SegmentTeacher)
        second = {} if shipped is None or has_segments else self._second_opinion(shipped)
        return Judgement(step, agreements, second, kept_back)

    def _second_opinion(self, shipped: DinoiserHeads) -> dict[str, Agreement]:
        found: dict[str, list[Agreement]] = {"new": [], "shipped": []}
        for fit, result in zip(self.fits, self._results, strict=True):
            settings = fit.settings
            prepared = taught_by_regions(fit.best.prepared, fit.data.held_out, settings.crop)
            for name, heads in (("new", result.heads), ("shipped", shipped)):
                found[name].append(agreement(heads, prepared, settings.similar))
        return {name: Agreement.joined(parts) for name, parts in found.items()}

    def discard_checkpoints(self) -> None:
        """Remove what resuming needs."""
        for fit in self.fits:
            remove_file(fit.checkpoint)
        remove_file(self._folder / self.fits[0].checkpoint.name)

    def _judged(self) -> dict[int, Agreement]:
        """Agreement of each judged step, over the images kept back by all fits."""
        return {
            step: Agreement.joined([fit.best.judged[step] for fit in self.fits])
            for step in self.fits[0].best.judged
        }

    def _shifted(
        self, progress: Callable[[FitProgress], None] | None, number: int
    ) -> Callable[[FitProgress], None] | None:
        """Report the progress of the fit of a number, from 0, as part of all fits."""
        if progress is None or self.passes == 1:
            return progress

        def report(now: FitProgress) -> None:
            progress(
                replace(now, step=number * now.steps + now.step, steps=self.passes * now.steps)
            )

        return report
