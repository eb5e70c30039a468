"""`dinoiser evaluate`: the paper's benchmarks, and your own masks against ground truth."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoiser.cli import options
from dinoiser.cli.console import (
    INTERRUPTED,
    download_bar,
    note,
    print_json,
    print_table,
    say,
    say_error,
    say_failures,
    stderr,
    stop_bar,
)
from dinoiser.cli.job_bars import STOPPED, JobBars
from dinoiser.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dinoiser.batch import Progress
    from dinoiser.evaluation.benchmark_run import BenchmarkJob
    from dinoiser.evaluation.scores import Score

BENCHMARKS = {
    "voc": "PASCAL VOC, 21 classes: VOCdevkit/VOC2012.",
    "voc20": "PASCAL VOC without background: VOCdevkit/VOC2012.",
    "context": "PASCAL Context, 60 classes: VOCdevkit/VOC2010.",
    "context59": "PASCAL Context without background: VOCdevkit/VOC2010.",
    "coco-object": "COCO-Object, 81 classes: val2017 and stuffthingmaps/val2017.",
    "coco-stuff": "COCO-Stuff, 171 classes: val2017 and stuffthingmaps/val2017.",
    "cityscapes": "Cityscapes, 19 classes: leftImg8bit/val and gtFine/val.",
    "ade20k": "ADE20K, 150 classes: ADEChallengeData2016.",
}

app = typer.Typer(
    help="Score a model on benchmarks, or masks against ground truth.",
    no_args_is_help=True,
    epilog=options.example("dinoiser evaluate voc --root /data -m clip-dinoiser"),
)


def _place(name: str, model: str, refine: str, delta: float | None) -> str:
    """Name the folder of an evaluation by what it evaluates."""
    parts = [name, model.replace(":", "-")]
    parts += [] if refine == "none" else [refine]
    parts += [] if delta is None else [f"delta={delta:g}"]
    return "-".join(parts)


def _benchmark_command(name: str) -> Callable[..., None]:
    def command(
        root: Annotated[
            Path,
            typer.Option("--root", help="The dataset's folder, or one above it.", metavar="FOLDER"),
        ],
        model: options.Model = "clip-dinoiser",
        output: Annotated[
            Path | None,
            typer.Option(
                "-o",
                "--output",
                help="Folder for masks and figures. Default: evaluation/BENCHMARK-MODEL.",
                metavar="FOLDER",
            ),
        ] = None,
        device: options.Device = "auto",
        precision: options.Precision = "fp32",
        heads: Annotated[
            list[Path] | None,
            typer.Option(
                "--heads",
                help="Heads from `dinoiser train` instead of the model's. Several: --heads A "
                "--heads B, for their mean and standard deviation.",
                metavar="FILE",
            ),
        ] = None,
        refine: Annotated[
            str | None,
            typer.Option(
                help="none (the default): the published pixels; pamr: the papers' refinement; "
                "or edges.",
                metavar="METHOD",
            ),
        ] = None,
        config: Annotated[
            Path | None,
            typer.Option(
                help="YAML file with what to vary: pooling, objects, gamma, delta, refine.",
                metavar="FILE",
            ),
        ] = None,
        scheduler: options.Scheduler = "auto",
        workers: options.Workers = None,
        overwrite: options.Overwrite = False,
        as_json: options.Json = False,
    ) -> None:
        from dinoiser.evaluation.benchmark_run import BenchmarkJob
        from dinoiser.evaluation.config import EvaluationConfig

        given = EvaluationConfig() if config is None else EvaluationConfig.load(config)
        if given.variation is not None:
            model = given.variation.name(model)
        refine = refine or given.refine
        place = _place(name, model, refine, given.delta)
        job = BenchmarkJob(
            name,
            root,
            output or Path("evaluation") / place,
            model,
            device,
            precision,
            heads[0] if heads else None,
            refine,  # type: ignore[arg-type]  # which the settings check
            given.delta,
            scheduler,
            workers,
            overwrite,
        )
        if heads is not None and len(heads) > 1:
            failed = _evaluate_several(job, heads, as_json)
        else:
            failed = _evaluate(job, as_json)
        if failed:
            raise typer.Exit(1)

    return command


def _evaluate(job: BenchmarkJob, as_json: bool) -> bool:
    """Evaluate one model; return whether images failed."""
    score = _run(job)
    _show(score, as_json)
    return _say_what_failed(score, job)


def _evaluate_several(job: BenchmarkJob, heads: Sequence[Path], as_json: bool) -> bool:
    """Evaluate a model with each of several heads; return whether images failed."""
    from dinoiser.evaluation.several_heads import SeveralScores, jobs_of_heads

    jobs = jobs_of_heads(job, heads)
    scores = {name: _run(one) for name, one in jobs.items()}
    several = SeveralScores(scores)
    if as_json:
        print_json(several.document())
    else:
        for name, score in scores.items():
            say(name)
            _show(score, as_json=False)
        say(several.sentence())
    failed = [_say_what_failed(scores[name], one) for name, one in jobs.items()]
    return any(failed)


def _say_what_failed(score: Score, job: BenchmarkJob) -> bool:
    if score.failures:
        total = score.images + len(score.failures)
        failed = f"{len(score.failures)} of {total} images failed"
        say_error(f"{failed} and are left out of the figures; {job.output} lists them.")
    return bool(score.failures)


for _name, _help in BENCHMARKS.items():
    _example = options.example(f"dinoiser evaluate {_name} --root /data -m clip-dinoiser")
    app.command(_name, help=_help, epilog=_example)(_benchmark_command(_name))


@app.command("masks", epilog=options.example("dinoiser evaluate masks labels/ truth/ -o score.md"))
def masks(
    predicted: Annotated[
        Path, typer.Argument(help="Folder of masks, or a COCO file.", metavar="PRED")
    ],
    true: Annotated[Path, typer.Argument(help="Ground truth, in either form.", metavar="TRUTH")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Markdown file for the figures; a CSV with one line per image and a picture of "
            "the confusion matrix are written beside it.",
            metavar="FILE",
        ),
    ] = None,
    band: Annotated[
        str,
        typer.Option(
            help="Width of boundaries for boundary IoU: of the diagonal, or in pixels as in 4px.",
            metavar="WIDTH",
        ),
    ] = "2%",
    as_json: options.Json = False,
) -> None:
    """Compare your own masks with ground truth.

    Exit code 0: all compared; 1: some masks cannot be read; 2: could not run.
    """
    from dinoiser.evaluation.boundaries import Band
    from dinoiser.evaluation.mask_scores import score_masks

    width = Band.parse(band)
    if output:
        _check_output(output, (predicted, true))
    with CountingBar() as bar:
        score = score_masks(predicted, true, band=width, counting=bar.show)
    if output:
        _write(score, output)
    _show(score, as_json)
    if score.failures:
        total = score.images + len(score.failures)
        failed = f"{len(score.failures)} of {total} images are left out of the figures"
        say_failures(failed, score.failures)
        raise typer.Exit(1)


def _check_output(output: Path, places: Sequence[Path]) -> None:
    """Refuse a file for the figures that cannot be, before the images are compared."""
    from dinoiser.atomic import check_writable
    from dinoiser.evaluation.mask_files import folder_of_masks

    if output.is_dir() or output.suffix.lower() in (".csv", ".png"):
        msg = (
            f"The figures cannot be written to {output}: give a Markdown file, such as score.md; a "
            "table (.csv) and a picture (.png) are written beside it."
        )
        raise SettingsError(msg)
    for place in places:
        if place.is_dir() and output.resolve().is_relative_to(folder_of_masks(place).resolve()):
            msg = (
                f"The figures cannot be written to {output}, among the masks in {place}: their "
                "picture would count as a mask. Give another folder."
            )
            raise SettingsError(msg)
    check_writable(output.parent)


def _write(score: Score, output: Path) -> None:
    """Write the figures, and beside them those of each image and the confusion matrix."""
    from dinoiser.atomic import write_file
    from dinoiser.evaluation.matrix_image import draw_matrix
    from dinoiser.export.image_file import write_image

    texts = {output: score.markdown(), output.with_suffix(".csv"): score.image_table()}
    for path, text in texts.items():
        write_file(path, text.encode())
    write_image(draw_matrix(score.matrix), output.with_suffix(".png"))


class CountingBar:
    """A bar for the images that are compared with ground truth."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._bar = Progress(*columns, console=stderr())
        self._task = self._bar.add_task("Comparing", total=None)

    def __enter__(self) -> CountingBar:
        return self

    def __exit__(self, *_: object) -> None:
        stop_bar(self._bar)

    def show(self, done: int, total: int) -> None:
        """Show how many images are compared."""
        self._bar.start()
        self._bar.update(self._task, completed=done, total=total)


def _run(job: BenchmarkJob) -> Score:
    """Evaluate behind progress bars."""
    from dinoiser.evaluation.benchmark_run import evaluate

    with ExitStack() as stack:
        downloads = stack.enter_context(download_bar())
        labelling, counting = JobBars(), CountingBar()

        def advance(progress: Progress) -> None:
            stack.pop_all().close()
            labelling.show(progress)

        def count(done: int, total: int) -> None:
            labelling.stop()
            counting.show(done, total)

        try:
            return evaluate(job, progress=advance, counting=count, download_progress=downloads)
        except KeyboardInterrupt as stop:
            labelling.stop()
            say_error(STOPPED)
            raise typer.Exit(INTERRUPTED) from stop
        finally:
            labelling.stop()
            counting.__exit__()


def _show(score: Score, as_json: bool) -> None:
    """Print the figures, in percent for people."""
    if as_json:
        print_json(score.document())
        return
    from dinoiser.evaluation.scores import percent

    header, *rows = score.table()
    print_table(header, rows)
    paper = f"; the paper reports {percent(score.published)}" if score.published else ""
    mean = percent(score.matrix.mean())
    boundary = score.boundary
    bands = f", boundary IoU {percent(boundary.mean())}" if boundary else ""
    say(f"{score.title}: mIoU {mean}{bands} over {score.images} images{paper}.")
    if boundary:
        say(f"Boundaries are compared in a band of {boundary.band}.")
    for sentence in _notes(score.facts, score.images):
        say(sentence)
    for sentence in score.notes:
        note(f"Note: {sentence}.")


def _notes(facts: dict[str, Any], images: int) -> list[str]:
    """Say what a reader of the figures must know."""
    notes = []
    if refine := facts.get("protocol", {}).get("refine"):
        how = {"none": "as published, without refined edges", "pamr": "refined by PAMR"}
        notes.append(f"Labels are {how.get(refine, f'refined by {refine}')} (refine: {refine}).")
    official = facts.get("official_images", images)
    if images != official:
        notes.append(
            f"The official split has {official} images, so this is not the full benchmark."
        )
    if "output" in facts:
        notes.append(f"The figures are also in {facts['output']}/evaluation.md.")
    return notes
