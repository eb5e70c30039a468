"""`dinoiser train`: heads for your own images."""

from __future__ import annotations

import re
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
from dinoiser.cli.label import read_prompts
from dinoiser.errors import SettingsError
from dinoiser.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from dinoiser_training.fit import FitProgress
    from dinoiser_training.judged_fit import Judgement
    from dinoiser_training.refit import RefitJob, RefitSummary
    from dinoiser_training.settings import FitSettings
    from dinoiser_training.validation import Agreement

    from dinoiser.images.settings import ReadSettings

WIDE = 80
"""Columns of a terminal that has room for the losses beside the bar."""
EXAMPLE = options.example("dinoiser train photos/ -m clip-dinoiser -o heads.safetensors")


def train(
    context: typer.Context,
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
            help="dino (DINO and FOUND), dino-tiny (embedded), regions (needs no weights), masks "
            "(those accepted in the job in PATH), or a ViT of timm in DINO's place, such as "
            "vit_small_patch14_dinov2.lvd142m. auto: the model's own.",
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
    nodata: options.Nodata = None,
    bands: options.Bands = None,
    sample: Annotated[
        int, typer.Option(help="Use at most this many images.", metavar="NUMBER")
    ] = 1000,
    crop: Annotated[
        int | None,
        typer.Option(help="Side of the crops. Default: the model's window.", metavar="PIXELS"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.", metavar="NUMBER")] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            help="Fit this many times, with the next seeds: heads-0.safetensors and so on.",
            metavar="NUMBER",
        ),
    ] = 1,
    guide_block: Annotated[
        str,
        typer.Option(
            help="Block of CLIP that the heads read, from the end, or final.", metavar="BLOCK"
        ),
    ] = "-3",
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of all settings, as written beside heads. Options override it.",
            metavar="FILE",
        ),
    ] = None,
    prompt: options.Prompt = None,
    prompts: options.PromptFile = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a fit that was stopped.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Fit the two heads to your own images, without any labels.

    Use the heads with `dinoiser label --heads`. Exits with 1 if they are not
    better than the model's own. Ctrl-C saves the state of the fit; --resume
    continues from there. With words, images kept back are labelled with old
    and new heads, side by side.
    """
    from dinoiser_training.refit import RefitJob
    from dinoiser_training.seeds import jobs_of_seeds

    from dinoiser.images.settings import ReadSettings

    reading = ReadSettings.parse(nodata, bands)
    values = {
        "model": model, "precision": precision, "teacher": teacher, "steps": steps,
        "batch_size": batch_size, "crop": crop, "sample": sample, "seed": seed,
        "guide_block": _read_block(guide_block), "nodata": reading.nodata, "bands": reading.bands,
    }  # fmt: skip
    given = {name for name in ("recipe", *values) if _is_given(context, name)}
    networks, reading, settings = _settings(recipe, values, given, config)
    words = read_prompts(prompt, prompts, None) if prompt or prompts else None
    job = RefitJob(
        tuple(paths), output, device=device, settings=settings, resume=resume and seeds == 1,
        prompts=words, reading=reading, **networks,
    )  # fmt: skip
    jobs = [job] if seeds == 1 else jobs_of_seeds(job, seeds, resume)
    documents, better = [], True
    for one in jobs:
        judgement = (summary := _run_to_end(one)).judgement
        if judgement is None:
            return  # one of several processes, and not the first
        documents.append(_document(one, summary, judgement))
        better &= judgement.are_better
        if not as_json:
            _print_summary(one, summary, judgement)
    over_seeds = _over_seeds(job, seeds) if seeds > 1 else {}
    if as_json:
        print_json({"seeds": documents, **over_seeds} if seeds > 1 else documents[0])
    elif over_seeds:
        _print_over_seeds(over_seeds, seeds)
    if not better:
        raise typer.Exit(1)


def _run_to_end(job: RefitJob) -> RefitSummary:
    summary = _run(job)
    if not summary.result.finished:
        done = summary.result.progress.step
        say_error(f"Stopped after step {done}. Run the same command with --resume to continue.")
        raise typer.Exit(INTERRUPTED)
    return summary


def _over_seeds(job: RefitJob, seeds: int) -> dict[str, Any]:
    """Agreement of the new heads of all seeds, each a mean and a standard deviation."""
    from dinoiser_training.seeds import output_of_seed, spread

    first = job.settings.seed
    outputs = [output_of_seed(job.output, seed) for seed in range(first, first + seeds)]
    found = spread([output.with_suffix(".fit") for output in outputs])
    return {
        "agreement": {
            name: {"mean": mean, "deviation": deviation}
            for name, (mean, deviation) in found.items()
        }
    }


def _print_over_seeds(over_seeds: dict[str, Any], seeds: int) -> None:
    figures = [
        f"{name} {one['mean']:.3f} ± {one['deviation']:.3f}"
        for name, one in over_seeds["agreement"].items()
    ]
    say(f"Agreement (IoU) over {seeds} seeds, mean and standard deviation: {', '.join(figures)}.")


def _read_block(text: str) -> int | str:
    if text == "final" or re.fullmatch(r"-?\d{1,4}", text):
        return text if text == "final" else int(text)
    msg = f"--guide-block is {text!r}, expected a number below 0, such as -3, or final."
    raise SettingsError(msg)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _settings(
    recipe: str, values: dict[str, Any], given: Collection[str], config: Path | None
) -> tuple[dict[str, str], ReadSettings, FitSettings]:
    """Networks and settings: of the options given, else of the file, else of the recipe."""
    from dinoiser_training.config_file import NETWORKS, read_config
    from dinoiser_training.settings import FitSettings

    from dinoiser.images.settings import ReadSettings
    from dinoiser.models.catalog import find_model

    if config is not None:
        if "recipe" in given:
            msg = f"--recipe and --config are given, and {config} has a recipe: use only one."
            raise SettingsError(msg)
        values |= {n: v for n, v in read_config(config).items() if n not in given}
    networks = {name: values.pop(name) for name in NETWORKS}
    reading = ReadSettings(values.pop("nodata"), values.pop("bands"))
    values["crop"] = values["crop"] or find_model(networks["model"]).windows.window
    return networks, reading, FitSettings.of_recipe(recipe, **values)


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


def _document(job: RefitJob, summary: RefitSummary, judgement: Judgement) -> dict[str, Any]:
    last = summary.result.progress
    losses = last.losses()
    return {
        "heads": str(job.output),
        "config": str(job.config),
        "better": judgement.are_better,
        "steps": last.step,
        "best_step": judgement.step,
        "correlation_loss": losses["correlation"],
        "objectness_loss": losses["objectness"],
        "agreement": {name: one.summary() for name, one in judgement.agreements.items()},
        "second_opinion": {n: one.summary() for n, one in judgement.second_opinion.items()},
        "changed": summary.changed,
    }


def _print_summary(job: RefitJob, summary: RefitSummary, judgement: Judgement) -> None:
    if judgement.says_something:
        _print_table("the teacher", judgement.agreements)
        if judgement.second_opinion:
            _print_table("regions of similar colour", judgement.second_opinion)
    if summary.changed is not None:
        picture = job.folder / "labels.png"
        say(f"{summary.changed:.1%} of the pixels of images kept back change: see {picture}")
    say(_verdict(job, judgement))
    if judgement.are_better:
        words = ["-m", job.model, "--heads", str(job.output), *job.reading.options()]
        say(f"  dinoiser label FOLDER -p '...' {' '.join(words)}")


def _print_table(judge: str, agreements: dict[str, Agreement]) -> None:
    summaries = {name: one.summary() for name, one in agreements.items()}
    count = summaries["new"]["images"]
    say(f"Agreement with {judge} on {count} images kept back, mean and spread:")
    print_table(
        ["heads", "pairs (IoU)", "objects (IoU)"],
        [
            (name, *(_spread(found, what) for what in ("pairs", "objects")))
            for name, found in summaries.items()
        ],
    )


def _spread(found: dict[str, float | int | None], what: str) -> str:
    if found[what] is None:
        return "-"
    return f"{found[what]:.3f} ± {found[f'{what}_spread']:.3f}"


def _verdict(job: RefitJob, judgement: Judgement) -> str:
    """Say in plain words whether the new heads are worth using."""
    if not judgement.says_something:
        return (
            "The teacher tells nothing apart on the images kept back, so it is not known whether "
            f"the new heads in {job.output} are any good: give other images, or another --teacher."
        )
    if judgement.not_beaten:
        others = " or ".join(judgement.not_beaten)
        own = ": label without --heads" if "shipped" in judgement.not_beaten else ""
        return f"The new heads are not better than {others} ones{own}. They are in {job.output}."
    if judgement.is_doubted:
        return (
            "The new heads agree better with their teacher than the shipped ones do, but not with "
            "regions of similar colour, from which neither learnt. So they are not better as far "
            f"as is known: label without --heads. They are in {job.output}."
        )
    step = judgement.step
    return f"The new heads, of step {step}, are better. They are in {job.output}; use them with"
