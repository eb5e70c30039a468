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
    print_json,
    print_table,
    say,
    say_error,
    stderr,
    stop_bar,
)
from dinoiser.cli.job_bars import JobBars

if TYPE_CHECKING:
    from collections.abc import Callable

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
        heads: options.Heads = None,
        scheduler: options.Scheduler = "auto",
        workers: options.Workers = None,
        overwrite: options.Overwrite = False,
        as_json: options.Json = False,
    ) -> None:
        from dinoiser.evaluation.benchmark_run import BenchmarkJob

        output = output or Path("evaluation") / f"{name}-{model.replace(':', '-')}"
        job = BenchmarkJob(
            name, root, output, model, device, precision, heads, scheduler, workers, overwrite
        )
        score = _run(job)
        _show(score, as_json)
        if score.failures:
            total = score.images + len(score.failures)
            failed = f"{len(score.failures)} of {total} images failed"
            say_error(f"{failed} and are left out of the figures; {output} lists them.")
            raise typer.Exit(1)

    return command


for _name, _help in BENCHMARKS.items():
    _example = options.example(f"dinoiser evaluate {_name} --root /data -m clip-dinoiser")
    app.command(_name, help=_help, epilog=_example)(_benchmark_command(_name))


@app.command("masks", epilog=options.example("dinoiser evaluate masks labels/ truth/ -o score.md"))
def masks(
    predicted: Annotated[
        Path, typer.Argument(help="Folder of indexed PNG masks, or a COCO file.", metavar="PRED")
    ],
    true: Annotated[Path, typer.Argument(help="Ground truth, in either form.", metavar="TRUTH")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Markdown file for the figures.", metavar="FILE"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compare your own masks with ground truth."""
    from dinoiser.atomic import atomic_file
    from dinoiser.evaluation.mask_scores import score_masks

    with CountingBar() as bar:
        score = score_masks(predicted, true, bar.show)
    if output:
        with atomic_file(output) as file:
            file.write(score.markdown().encode())
    _show(score, as_json)


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
            say_error("Stopped. Run the same command again to resume.")
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

    print_table(
        ["class", "IoU"],
        [(name, percent(iou)) for name, iou in score.matrix.by_class().items()],
    )
    paper = f"; the paper reports {percent(score.published)}" if score.published else ""
    mean = percent(score.matrix.mean())
    say(f"{score.title}: mIoU {mean} over {score.images} images{paper}.")
    for sentence in _notes(score.facts, score.images):
        say(sentence)


def _notes(facts: dict[str, Any], images: int) -> list[str]:
    """Say what a reader of the figures must know."""
    notes = []
    official = facts.get("official_images", images)
    if images != official:
        notes.append(
            f"The official split has {official} images, so this is not the full benchmark."
        )
    if "output" in facts:
        notes.append(f"The figures are also in {facts['output']}/evaluation.md.")
    return notes
