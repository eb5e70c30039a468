"""`dinoiser improve`: what people corrected teaches the rest of the folder."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoiser.cli import options
from dinoiser.cli.console import note, print_json, print_table, say
from dinoiser.cli.job_bars import progress_shown
from dinoiser.cli.label import say_summary, summary_document
from dinoiser.errors import CheckpointError, SettingsError
from dinoiser.printable import printable

if TYPE_CHECKING:
    from dinoiser.batch import Running, Summary
    from dinoiser.batch.improve import Lesson
    from dinoiser.learning.learned import Learned
    from dinoiser.prompts import PromptSet

EXAMPLE = options.example("dinoiser improve labels/")


def improve(
    output: options.JobFolder,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what was learnt, and label nothing.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write what was learnt, for label --learned.", metavar="FILE"),
    ] = None,
    take_back: Annotated[
        bool, typer.Option("--take-back", help="Label as before the latest improvement.")
    ] = False,
    device: options.Device = "auto",
    heads: options.Heads = None,
    scheduler: options.Scheduler = "auto",
    workers: options.Workers = None,
    as_json: options.Json = False,
) -> None:
    """Learn from accepted masks, and label the rest with it.

    Words alone are kept where what was learnt is not clearly better on images
    that were left out. Masks that people have checked stay.

    Exit code 0: all images labelled; 1: some failed; 2: could not run.
    """
    from dinoiser.batch import Running

    if take_back and (dry_run or save):
        msg = "--take-back learns nothing: give it without --dry-run and --save."
        raise SettingsError(msg)
    if save:
        _check_file(save)
    running = Running(device=device, scheduler=scheduler, workers=workers)
    lesson = None if take_back else _learn(output, running, heads)
    if lesson and not as_json:
        _say_lesson(lesson, _prompts(output))
    if lesson and save:
        lesson.learned.save(save)
    summary = None
    if not dry_run:
        summary = _label(output, _what_to_use(output, lesson), running, heads)
    _say_result(output, lesson, summary, as_json)
    if summary and summary.failures:
        raise typer.Exit(1)


def _check_file(save: Path) -> None:
    """Refuse a file that cannot be written, before there is something to lose."""
    from dinoiser.atomic import check_writable

    if save.is_dir():
        msg = f"--save is {save}, a folder: give a file, such as learned.safetensors."
        raise SettingsError(msg)
    if save.exists() and not _is_learned(save):
        msg = (
            f"--save is {save}, which is there and is no file of what was learnt: give another "
            "name, or move it away."
        )
        raise SettingsError(msg)
    check_writable(save.parent)


def _is_learned(file: Path) -> bool:
    from dinoiser.learning.learned import Learned

    try:
        Learned.load(file)
    except CheckpointError:
        return False
    return True


def _learn(output: Path, running: Running, heads: Path | None) -> Lesson:
    from dinoiser.batch.improve import learn_from_reviews

    with progress_shown("Stopped. Nothing was changed.") as advance:
        return learn_from_reviews(output, running=running, heads=heads, progress=advance)


def _what_to_use(output: Path, lesson: Lesson | None) -> Learned | None:
    """Return what to label with; None for words alone."""
    from dinoiser.batch.improve import before_last_improvement

    if lesson is None:
        return before_last_improvement(output)
    return lesson.learned if lesson.learned.moves else None


def _label(output: Path, learned: Learned | None, running: Running, heads: Path | None) -> Summary:
    from dinoiser.batch.relabel import relabel

    with progress_shown() as advance:
        return relabel(
            output,
            _prompts(output),
            learned=learned,
            running=running,
            heads=heads,
            progress=advance,
        )


def _prompts(output: Path) -> PromptSet:
    from dinoiser.batch.recorded_job import recorded_job

    return recorded_job(output)[0].prompts


def _say_lesson(lesson: Lesson, prompts: PromptSet) -> None:
    """Say how good words alone and what was learnt are, by class."""
    learned = lesson.learned
    rows = [
        (printable(c.name), str(learned.examples.get(c.id, 0)), *_ious(learned, c.id))
        for c in prompts.classes
    ]
    print_table(["class", "patches", "IoU by words", "IoU learnt"], rows)
    for name, reason in lesson.passed_over.items():
        note(f"Note: {name} taught nothing: {reason}.")
    images = f"{learned.images} accepted image{'s' * (learned.images > 1)}"
    if learned.moves:
        say(f"Learnt from {images}; the figures are those of images left out of learning.")
    else:
        say(
            f"Words alone are as good as what {images} would teach, or nearly: accept and correct "
            "a few more."
        )


def _ious(learned: Learned, number: int) -> tuple[str, str]:
    return tuple(  # type: ignore[return-value]  # two of them
        "-" if number not in scores else f"{scores[number]:.2f}"
        for scores in (learned.words, learned.learned)
    )


def _say_result(
    output: Path, lesson: Lesson | None, summary: Summary | None, as_json: bool
) -> None:
    prompts = _prompts(output)
    if as_json:
        print_json(_document(output, lesson, summary, prompts))
    elif summary:
        say_summary(output, prompts, summary)


def _document(
    output: Path, lesson: Lesson | None, summary: Summary | None, prompts: PromptSet
) -> dict[str, Any]:
    document: dict[str, Any] = {"output": str(output)}
    if summary:
        document = summary_document(output, prompts, summary)
    if lesson:
        learned = lesson.learned
        document["learned"] = {
            "images": learned.images,
            "moves": learned.moves,
            "passed_over": lesson.passed_over,
            "classes": [
                {
                    "id": number,
                    "name": name,
                    "patches": learned.examples.get(number, 0),
                    "words": learned.words.get(number),
                    "learned": learned.learned.get(number),
                }
                for number, name in learned.classes.items()
            ],
        }
    return document
