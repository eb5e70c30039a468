"""The same benchmark with several heads, as the paper reports its figures: mean and deviation."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dinoiser.errors import SettingsError
from dinoiser.evaluation.scores import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dinoiser.evaluation.benchmark_run import BenchmarkJob
    from dinoiser.evaluation.scores import Score


def jobs_of_heads(job: BenchmarkJob, heads: Sequence[Path]) -> dict[str, BenchmarkJob]:
    """Repeat a job with each file of heads, in a folder of its output with the file's name.

    Raises
    ------
    SettingsError
        Two files have the same name.
    """
    repeated = [name for name, count in Counter(path.stem for path in heads).items() if count > 1]
    if repeated:
        msg = f"Several files of heads are named {repeated[0]!r}: rename all but one of them."
        raise SettingsError(msg)
    return {path.stem: replace(job, heads=path, output=job.output / path.stem) for path in heads}


@dataclass(frozen=True)
class SeveralScores:
    """Scores by the name of the heads.

    Attributes
    ----------
    scores
        At least two.
    """

    scores: Mapping[str, Score]

    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation (of a sample, n - 1) of mIoU in [0, 1]."""
        figures = [score.matrix.mean() or 0.0 for score in self.scores.values()]
        return statistics.mean(figures), statistics.stdev(figures)

    def document(self) -> dict[str, Any]:
        """Return everything for JSON; IoU and mIoU are in [0, 1]."""
        mean, deviation = self.spread()
        return {
            "miou": mean,
            "miou_deviation": deviation,
            "heads": {name: score.document() for name, score in self.scores.items()},
        }

    def sentence(self) -> str:
        """Return the mean and the deviation in percent."""
        mean, deviation = self.spread()
        return (
            f"mIoU {percent(mean)} ± {percent(deviation)} over {len(self.scores)} heads, mean and "
            "standard deviation."
        )
