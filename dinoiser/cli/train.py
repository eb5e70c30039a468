"""`dinoiser train`: heads for your own images."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoiser.cli import options
from dinoiser.cli.console import (
    INTERRUPTED,
    download_bar,
    images_per_second,
    print_json,
    print_table,
    say,
    say_error,
    stderr,
    stop_bar,
)
from dinoiser.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dinoiser_training.fit import FitProgress
    from dinoiser_training.refit import RefitJob, RefitSummary

WIDE = 80
"""Columns of a terminal that has room for the losses beside the bar."""
EXAMPLE = options.example("dinoiser train photos/ -m clip-dinoiser -o heads.safetensors")


def train(
    paths: options.Paths,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File for the heads.", metavar="FILE")
    ] = Path("heads.safetensors"),
    model: options.Model = "clip-dinoiser",
    steps: Annotated[int, typer.Option(help="Training steps.", metavar="NUMBER")] = 6300,
    batch_size: Annotated[int, typer.Option(help="Crops per step.", metavar="NUMBER")] = 16,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    teacher: Annotated[
        str,
        typer.Option(
            help="dino (DINO and FOUND), regions (needs no weights), or a ViT of timm in DINO's "
            "place, such as vit_small_patch14_dinov2.lvd142m. auto: the model's own.",
            metavar="TEACHER",
        ),
    ] = "auto",
    recipe: Annotated[
        str,
        typer.Option(
            help="published, or balanced: small objects count as much as large ones.",
            metavar="RECIPE",
        ),
    ] = "published",
    sample: Annotated[
        int, typer.Option(help="Use at most this many images.", metavar="NUMBER")
    ] = 1000,
    crop: Annotated[
        int | None,
        typer.Option(help="Side of the crops. Default: the model's window.", metavar="PIXELS"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.", metavar="NUMBER")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a fit that was stopped.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Fit the two heads to your own images, without any labels.

    Use the heads with `dinoiser label --heads`. Ctrl-C saves the state of the
    fit; --resume continues from there.
    """
    from dinoiser_training.refit import RefitJob
    from dinoiser_training.settings import FitSettings

    from dinoiser.models.catalog import find_model

    settings = FitSettings.of_recipe(
        recipe,
        steps=steps,
        batch_size=batch_size,
        crop=crop or find_model(model).windows.window,
        sample=sample,
        seed=seed,
    )
    job = RefitJob(tuple(paths), output, model, device, precision, teacher, settings, resume)
    summary = _run(job)
    if not summary.result.finished:
        done = summary.result.progress.step
        say_error(f"Stopped after step {done}. Run the same command with --resume to continue.")
        raise typer.Exit(INTERRUPTED)
    if not summary.agreements:
        return  # one of several processes, and not the first
    if as_json:
        print_json(_document(job, summary))
    else:
        _print_summary(job, summary)


def _run(job: RefitJob) -> RefitSummary:
    """Run the job behind progress bars."""
    from dinoiser_training.refit import refit

    with ExitStack() as stack:
        stopped = stack.enter_context(_stop_on_interrupt())
        downloads = stack.enter_context(download_bar())
        bars = FitBars()
        stack.callback(bars.stop)

        def say(sentence: str) -> None:
            bars.start().print(printable(sentence), soft_wrap=True)

        return refit(
            job,
            progress=bars.show_fit,
            reading=bars.show_reading,
            say=say,
            download_progress=downloads,
            cancelled=stopped,
        )


class FitBars:
    """Bars for reading the images and for the fit, with losses, speed and time left."""

    def __init__(self) -> None:
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[facts]}"),
            progress.TimeRemainingColumn(),
            console=stderr(),
        )
        self._tasks: dict[str, progress.TaskID] = {}

    def start(self) -> Any:
        """Show the bars; the console that prints above them."""
        self._bar.start()
        return self._bar.console

    def show_reading(self, done: int, total: int) -> None:
        """Show how many images have been read."""
        self._update("Reading", done, total, "")

    def show_fit(self, progress: FitProgress) -> None:
        """Show where the fit stands."""
        facts = images_per_second(progress.images_per_second)
        if self._bar.console.width >= WIDE:
            losses = progress.correlation_loss, progress.objectness_loss
            facts = "correlation {:.4f}, objects {:.4f}, ".format(*losses) + facts
        self._update("Fitting", progress.step, progress.steps, facts)

    def _update(self, name: str, done: int, total: int, facts: str) -> None:
        self.start()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total, facts="", completed=done)
        self._bar.update(self._tasks[name], completed=done, total=total, facts=facts)

    def stop(self) -> None:
        """Leave the bars as they are."""
        stop_bar(self._bar)


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Finish and save the step at the first Ctrl-C; stop at once at the second."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _document(job: RefitJob, summary: RefitSummary) -> dict[str, Any]:
    last = summary.result.progress
    return {
        "heads": str(job.output),
        "steps": last.step,
        "correlation_loss": last.correlation_loss,
        "objectness_loss": last.objectness_loss,
        "agreement": {name: found._asdict() for name, found in summary.agreements.items()},
    }


def _print_summary(job: RefitJob, summary: RefitSummary) -> None:
    say("Agreement with the teacher on the held-out images:")
    print_table(
        ["heads", "pairs (AP)", "objects (IoU)"],
        [
            (name, f"{found.average_precision:.3f}", f"{found.mask_iou:.3f}")
            for name, found in summary.agreements.items()
        ],
    )
    say(f"The heads are in {job.output}; use them with")
    say(f"  dinoiser label FOLDER -p '...' -m {job.model} --heads {job.output}")
