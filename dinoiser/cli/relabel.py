"""`dinoiser relabel`: other words for the images of a job."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated

import typer

from dinoiser.cli import options
from dinoiser.cli.console import note, print_json, say
from dinoiser.cli.job_bars import progress_shown
from dinoiser.cli.label import read_prompts, say_classes, say_summary, summary_document
from dinoiser.errors import SettingsError

if TYPE_CHECKING:
    from dinoiser.batch.relabel import Plan
    from dinoiser.prompts import PromptSet

EXAMPLE = options.example('dinoiser relabel labels/ -p "background, dog; puppy, cat"')


def relabel(
    output: options.JobFolder,
    prompt: options.Prompt = None,
    prompts: options.PromptFile = None,
    ignore_below: options.IgnoreBelow = None,
    device: options.Device = "auto",
    heads: options.Heads = None,
    scheduler: options.Scheduler = "auto",
    workers: options.Workers = None,
    dry_run: options.DryRun = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Do not ask: pixels of classes that disappear become 255 (ignored)."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Label the images of a finished job by other words.

    Masks that people have checked stay. Classes keep their ids and colours by
    name. Where the job keeps features (label --keep-features), this takes a
    small part of the time that labelling took.

    Exit code 0: all images labelled; 1: some failed; 2: could not run.
    """
    from dinoiser.batch import Running
    from dinoiser.batch.relabel import plan, relabel, say_lost

    running = Running(device=device, scheduler=scheduler, workers=workers)
    words = _read_words(output, prompt, prompts, ignore_below)
    planned = plan(output, words)
    if not as_json:
        _say_plan(planned)
    if dry_run:
        if as_json:
            print_json({"output": str(output), "images": [image.name for image in planned.todo]})
        return
    if planned.lost and not yes:
        _ask(say_lost(planned.lost))
    with progress_shown() as advance:
        summary = relabel(
            output, words, running=running, heads=heads, give_up=True, progress=advance
        )
    if as_json:
        print_json(summary_document(output, planned.prompts, summary))
    else:
        say_summary(output, planned.prompts, summary)
    if summary.failures:
        raise typer.Exit(1)


def _read_words(
    output: Path, inline: str | None, path: Path | None, ignore_below: float | None
) -> PromptSet:
    """Read the words; those after -p keep the templates and the threshold of the job."""
    from dataclasses import replace

    from dinoiser.batch.recorded_job import recorded_job

    job, _ = recorded_job(output)
    words = read_prompts(inline, path, ignore_below)
    if path is not None:
        return words
    least = job.prompts.ignore_below if ignore_below is None else ignore_below
    return replace(words, templates=job.prompts.templates, ignore_below=least)


def _say_plan(planned: Plan) -> None:
    """Say what will happen, and how long the image tower takes."""
    from dinoiser.batch.summary import count_images

    say_classes(planned.prompts)
    say(f"{count_images(len(planned.todo))} to label; {planned.kept} were checked and stay.")
    if planned.forgets:
        note(
            "Note: what corrections taught this job is not used with other words: run `dinoiser "
            "improve` afterwards to learn anew from the accepted masks."
        )
    without = len(planned.todo) - planned.with_features
    if without:
        note(
            f"Note: no features are kept of {without} images, so that the image tower runs: this "
            f"took {_duration(planned.seconds)} of computing when they were labelled."
        )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _ask(question: str) -> None:
    """Ask whether to go on; without a terminal, say how to answer beforehand."""
    if not sys.stdin.isatty():
        msg = f"{question[0].upper()}{question[1:]}: give --yes, or keep these classes."
        raise SettingsError(msg)
    if not typer.confirm(f"{question[0].upper()}{question[1:]}. Go on?", err=True):
        raise typer.Exit(2)
