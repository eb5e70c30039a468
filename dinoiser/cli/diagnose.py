"""`dinoiser diagnose`: what accepted masks say about a job's words."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoiser.cli import options
from dinoiser.cli.console import note, print_json, print_table, say
from dinoiser.cli.job_bars import progress_shown
from dinoiser.errors import SettingsError
from dinoiser.printable import printable

if TYPE_CHECKING:
    from dinoiser.evaluation.diagnosis import Diagnosis

EXAMPLE = options.example("dinoiser diagnose labels/ --precision 0.95")


def diagnose(
    output: options.JobFolder,
    precision: Annotated[
        float,
        typer.Option(
            help="Find the --ignore-below with which this share of what is found as an object "
            "is right.",
            metavar="SHARE",
        ),
    ] = 0.95,
    device: options.Device = "auto",
    heads: options.Heads = None,
    as_json: options.Json = False,
) -> None:
    """Say what accepted masks tell about a job's words.

    Which classes take pixels from which, phrases that hurt, words that say the
    same, and the confidence that keeps a precision. No mask is changed; the
    job's report shows it, too.

    Exit code 0, or 2: could not run.
    """
    from dinoiser.batch import Running
    from dinoiser.batch.diagnose import diagnose_job

    if not 0 < precision < 1:
        msg = f"--precision is {precision}, expected a share between 0 and 1, such as 0.95."
        raise SettingsError(msg)
    with progress_shown("Stopped.") as advance:
        found, passed_over = diagnose_job(
            output, precision, running=Running(device=device), heads=heads, progress=advance
        )
    if as_json:
        print_json(_document(output, found, precision))
        return
    _say(found, precision)
    for name, reason in passed_over.items():
        note(f"Note: {name} is not counted: {reason}.")


def _say(found: Diagnosis, precision: float) -> None:
    """Show the IoU of each class, and what is worth telling."""
    rows = [
        (printable(name), "-" if iou is None else f"{iou:.2f}")
        for name, iou in found.matrix.by_class().items()
    ]
    print_table(["class", "IoU"], rows)
    for sentence in found.sentences(precision):
        say(printable(sentence))


def _document(output: Path, found: Diagnosis, precision: float) -> dict[str, Any]:
    best = found.threshold(precision)
    return {
        "output": str(output),
        "classes": list(found.matrix.names),
        "iou": found.matrix.by_class(),
        "matrix": found.matrix.counts.tolist(),
        "taken": [pair._asdict() for pair in found.taken()],
        "phrases": [effect._asdict() for effect in found.phrases],
        "alike": [pair._asdict() for pair in found.alike],
        "precision": precision,
        "ignore_below": best and best[0],
        "kept": best and best[1],
    }
