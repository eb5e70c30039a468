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
SHOWN = 10


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
    same, and the confidence that keeps a precision. Nothing is changed.

    Exit code 0, or 2: could not run.
    """
    from dinoiser.batch import Running
    from dinoiser.batch.improve import ReviewedImages
    from dinoiser.evaluation.diagnosis import diagnose

    if not 0 < precision < 1:
        msg = f"--precision is {precision}, expected a share between 0 and 1, such as 0.95."
        raise SettingsError(msg)
    with progress_shown("Stopped.") as advance:
        reviewed = ReviewedImages(
            output,
            running=Running(device=device),
            heads=heads,
            as_labelled=True,
            progress=advance,
        )
        found = diagnose(reviewed, reviewed.prompts, reviewed.pipeline)
    if as_json:
        print_json(_document(output, found, precision))
        return
    _say_classes(found)
    _say_words(found)
    _say_threshold(found, precision)
    for name, reason in reviewed.passed_over.items():
        note(f"Note: {name} is not counted: {reason}.")


def _say_classes(found: Diagnosis) -> None:
    """Show the IoU of each class, and which take from which."""
    rows = [
        (printable(name), "-" if iou is None else f"{iou:.2f}")
        for name, iou in found.matrix.by_class().items()
    ]
    print_table(["class", "IoU"], rows)
    for pair in found.taken()[:SHOWN]:
        say(
            f"{pair.share:.0%} of your {printable(pair.true)} was labelled {printable(pair.found)}."
        )


def _say_words(found: Diagnosis) -> None:
    for effect in found.phrases:
        say(
            f'Without the phrase "{printable(effect.phrase)}", {printable(effect.name)} would have '
            f"an IoU of {effect.without:.2f} instead of {effect.iou:.2f}."
        )
    for pair in found.alike[:SHOWN]:
        (a, b), (x, y) = pair.names, pair.phrases
        say(
            f'{printable(a)} ("{printable(x)}") and {printable(b)} ("{printable(y)}") say about '
            f"the same to this model: cosine {pair.cosine:.2f}."
        )


def _say_threshold(found: Diagnosis, precision: float) -> None:
    best = found.threshold(precision)
    if best is None:
        say(f"No confidence is enough for a precision of {precision:.0%}.")
    elif best[0] == 0:
        say(f"At least {precision:.0%} of what is found as an object is right.")
    else:
        say(
            f"--ignore-below {best[0]:g} would make {precision:.0%} of what is found as an object "
            f"right, and keep {best[1]:.0%} of it."
        )


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
