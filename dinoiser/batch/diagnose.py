"""Diagnose a job's words by its accepted masks, and keep for the report what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoiser.batch.folder import REPORT, sole_writer
from dinoiser.batch.improve import ReviewedImages
from dinoiser.batch.report.findings import Findings
from dinoiser.evaluation.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dinoiser.batch.job import Running
    from dinoiser.batch.run import Progress
    from dinoiser.evaluation.diagnosis import Diagnosis


def diagnose_job(
    output: Path,
    precision: float,
    *,
    running: Running | None = None,
    heads: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Diagnosis, dict[str, str]]:
    """Compare a job's labels with its accepted masks, and bring its report up to date.

    Parameters
    ----------
    output, running, heads, progress
        See `dinoiser.batch.improve.learn_from_reviews`.
    precision
        Of the confidence to look for, see `Diagnosis.threshold`.

    Returns
    -------
    diagnosis, passed_over
        What was found, and why accepted images were not counted, by name.

    Raises
    ------
    SettingsError, InputError, ModelError, CheckpointError
        See `ReviewedImages`.
    OutputError
        Somebody else writes into the folder, or it cannot be written.
    """
    from dinoiser.batch.report.page import write_report

    reviewed = ReviewedImages(
        output, running=running, heads=heads, as_labelled=True, progress=progress
    )
    with sole_writer(output, "diagnose"):
        found = diagnose(reviewed, reviewed.prompts, reviewed.pipeline)
        Findings(
            turn=reviewed.turn,
            images=found.images,
            iou=found.matrix.by_class(),
            sentences=found.sentences(precision),
        ).save(output)
        if (output / REPORT).is_file():
            write_report(output)
    return found, reviewed.passed_over
