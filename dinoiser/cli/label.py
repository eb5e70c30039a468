"""`dinoiser label`: masks for images, from words."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dinoiser.cli import options
from dinoiser.cli.console import (
    download_bar,
    note,
    print_json,
    print_table,
    say,
    say_failures,
    swatch,
)
from dinoiser.cli.job_bars import progress_shown
from dinoiser.errors import PromptError, SettingsError
from dinoiser.printable import printable

if TYPE_CHECKING:
    from dinoiser.batch import LabelJob, Progress, Summary
    from dinoiser.prompts import PromptSet

EXAMPLE = options.example(
    'dinoiser label photos/ -p "background, dog; puppy" -o labels/ -f png,coco'
)
SHOWN_NAMES = 3
SHOWN_CLASSES = 10


def label(
    paths: options.Paths,
    prompt: options.Prompt = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the results.", metavar="FOLDER")
    ] = Path("dinoiser-output"),
    model: options.Model = "clip-dinoiser",
    device: options.Device = "auto",
    prompts: options.PromptFile = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--format",
            help="png, overlay, confidence, coco, panoptic, yolo, voc, gray, geotiff, cvat, "
            "labelstudio, hf: one or more, separated by commas. Default: png,overlay.",
            metavar="FORMATS",
            callback=options.read_formats,
        ),
    ] = None,
    polygons: options.Polygons = False,
    instances: options.Instances = False,
    split: options.Split = None,
    min_area: options.MinArea = 0,
    window: Annotated[
        int | None,
        typer.Option(help="Side of the windows. Default: the model's.", metavar="PIXELS"),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(help="Step between windows. Default: the model's.", metavar="PIXELS"),
    ] = None,
    short_side: Annotated[
        int | None,
        typer.Option(
            help="Shorter side that images are resized to. Default: the model's.", metavar="PIXELS"
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Take each image at its own size, in one pass.")
    ] = False,
    antialias: Annotated[
        bool,
        typer.Option(
            "--antialias/--no-antialias",
            help="Smooth images when shrinking them; the published code does not.",
        ),
    ] = True,
    refine: Annotated[
        str,
        typer.Option(
            help="edges: labels follow the image's edges; pamr: the papers' refinement, slow; "
            "none: the paper's pixels.",
            metavar="METHOD",
        ),
    ] = "edges",
    ignore_below: options.IgnoreBelow = None,
    masks: Annotated[
        str | None,
        typer.Option(
            help="indexed: masks in the classes' colours; gray: for programs that read class ids "
            "as grey values only. Default: as the prompt file says, or indexed.",
            metavar="FORM",
        ),
    ] = None,
    nodata: options.Nodata = None,
    bands: options.Bands = None,
    batch_size: Annotated[
        str, typer.Option(help="Windows per pass: a number, or auto.", metavar="NUMBER")
    ] = "auto",
    precision: options.Precision = "auto",
    heads: options.Heads = None,
    learned: Annotated[
        Path | None,
        typer.Option(
            "--learned", help="What corrections taught, from `improve --save`.", metavar="FILE"
        ),
    ] = None,
    keep_features: Annotated[
        bool,
        typer.Option(
            "--keep-features",
            help="Keep what `relabel` and `improve` need to be quick: about 0.8 MB per photograph.",
        ),
    ] = False,
    scheduler: options.Scheduler = "auto",
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    discard_reviews: Annotated[
        bool,
        typer.Option(
            "--discard-reviews",
            help="Let --overwrite and --prune delete reviews and corrected masks.",
        ),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove the results of images that are no longer among the inputs."
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry images that failed before.")
    ] = False,
    dry_run: options.DryRun = False,
    limit: Annotated[
        int | None, typer.Option(help="Label at most this many images.", metavar="NUMBER")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html at the end.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Label images with words: masks, previews, COCO and more.

    Run the same command again to resume a job.

    Exit code 0: all images labelled; 1: some failed; 2: could not run.
    """
    from dinoiser.batch import (
        ExportOptions,
        LabelJob,
        Labelling,
        Results,
        Running,
        SegmentSettings,
    )
    from dinoiser.images.settings import ReadSettings

    reading = ReadSettings.parse(nodata, bands)
    settings = SegmentSettings(
        short_side=short_side,
        window=window,
        stride=stride,
        whole=whole,
        antialias=antialias,
        refine=refine,  # type: ignore[arg-type]  # which the settings check
        batch_size=_read_batch_size(batch_size),
    )
    job = LabelJob(
        inputs=tuple(paths),
        output=output,
        labelling=Labelling(
            prompts=read_prompts(prompt, prompts, ignore_below, masks),
            model=model,
            precision=precision,
            heads=heads,
            settings=settings,
            nodata=reading.nodata,
            bands=reading.bands,
            learned=learned,
        ),
        results=Results(
            formats=tuple(formats or ("png", "overlay")),
            export=ExportOptions(polygons, instances, min_area, **options.given(split=split)),
            report=report,
            keep_features=keep_features,
        ),
        running=Running(
            device=device,
            scheduler=scheduler,
            workers=workers,
            limit=limit,
            overwrite=overwrite,
            discard_reviews=discard_reviews,
            prune=prune,
            retry_failed=retry_failed,
        ),
    )
    # so that --dry-run finds what does not suit the model or the classes, too
    job.labelling.windows()
    job.labelling.check_learned()
    for warning in job.prompts.warnings:
        note(f"Note: {warning}")
    if dry_run:
        _describe(job, as_json)
        return
    summary = _run(job)
    if as_json:
        print_json(summary_document(job.output, job.prompts, summary))
    else:
        say_summary(job.output, job.prompts, summary)
    if summary.failures or summary.not_exported:
        raise typer.Exit(1)


def read_prompts(
    inline: str | None, path: Path | None, ignore_below: float | None, masks: str | None = None
) -> PromptSet:
    """Read the classes, either from the words after -p or from a prompt file."""
    from dataclasses import replace

    from dinoiser.prompts import PromptSet

    if (inline is None) == (path is None):
        msg = (
            "No classes are given: use -p, such as -p 'background, dog; puppy', or --prompts "
            "with a prompt file."
            if path is None
            else "Both -p and --prompts are given: use only one of them."
        )
        raise PromptError(msg)
    prompts = PromptSet.load(path) if path else PromptSet.parse(inline or "")
    if ignore_below is not None:
        prompts = replace(prompts, ignore_below=ignore_below)
    if masks:
        prompts = replace(prompts, masks=masks)  # type: ignore[arg-type]  # checked there
    return prompts


def _read_batch_size(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        msg = f"--batch-size is {text!r}, expected 'auto' or a number of at least 1."
        raise SettingsError(msg)
    return int(text)


def _run(job: LabelJob) -> Summary:
    """Run the job behind progress bars."""
    from dinoiser.batch import run

    with progress_shown() as show, ExitStack() as stack:
        downloads = stack.enter_context(download_bar())

        def advance(progress: Progress) -> None:
            stack.pop_all().close()
            show(progress)

        return run(job, progress=advance, download_progress=downloads)


def _describe(job: LabelJob, as_json: bool) -> None:
    """Say what a job would do, without touching the model or the disk."""
    from dinoiser.batch.run import preview
    from dinoiser.batch.stock import prunable
    from dinoiser.batch.summary import count_images

    stock = preview(job)
    names = [image.name for image in stock.todo]
    gone = stock.gone if job.running.prune else []
    removed = [record.image for record in prunable(job, gone, stock.edits.reviews)[0]]
    if as_json:
        classes = [{"id": c.id, "name": c.name, "phrases": c.phrases} for c in job.prompts.classes]
        print_json({"images": names, "removed": removed, "classes": classes})
        return
    say_classes(job.prompts)
    for name in names:
        say(name)
    earlier = stock.summary.through
    stay = f"; {earlier} were labelled earlier and stay" if earlier else ""
    say(f"{count_images(len(names))} would be labelled into {job.output}{stay}.")
    if removed:
        say(f"The results of {count_images(len(removed))} would be removed: {', '.join(removed)}.")
    for sentence in stock.summary.notes:
        note(f"Note: {sentence}.")


def say_classes(prompts: PromptSet) -> None:
    """Say which classes are looked for, and by which phrases."""
    for c in prompts.classes:
        say(f"{c.id:3d}  {c.name}: {'; '.join(c.phrases)}")


def summary_document(output: Path, prompts: PromptSet, summary: Summary) -> dict[str, Any]:
    """Describe a job's results, for --json."""
    return {
        "output": str(output),
        "images": summary.total,
        "done": summary.done,
        "resumed": summary.resumed,
        "failed": summary.failures,
        "not_exported": summary.not_exported,
        "warnings": summary.warnings,
        "classes": [
            {
                "id": c.id,
                "name": c.name,
                "share": summary.share(c.id),
                "mean_confidence": summary.mean_confidence(c.id),
            }
            for c in prompts.classes
        ],
        "ignored_share": summary.share(prompts.ignore),
        "notes": summary.notes,
    }


def say_summary(output: Path, prompts: PromptSet, summary: Summary) -> None:
    """Say what a job has become: a table of classes, and what a person has to know."""
    from rich.text import Text

    from dinoiser.batch.folder import REPORT
    from dinoiser.batch.records import MERGED
    from dinoiser.batch.summary import name_some

    rows: list[tuple[Text, str, str]] = []
    empty = [printable(c.name) for c in prompts.classes if not summary.share(c.id)]
    for c in prompts.classes:
        if not summary.share(c.id):
            continue
        confidence = summary.mean_confidence(c.id)
        shown = "-" if confidence is None else f"{confidence:.2f}"
        named = Text.assemble(swatch(c.color), f" {printable(c.name)}")
        rows.append((named, f"{summary.share(c.id):.1%}", shown))
    if summary.share(prompts.ignore):
        rows.append((Text("   (ignored)"), f"{summary.share(prompts.ignore):.1%}", "-"))
    if rows:
        print_table(["   class", "share of pixels", "mean confidence"], rows)
    if empty and summary.done:
        say(f"Without pixels: {name_some(empty, SHOWN_CLASSES)}")
    earlier = f", {summary.resumed} of them in an earlier run" if summary.resumed else ""
    say(f"{summary.done} of {summary.total} images labelled{earlier}: {output}")
    if (output / REPORT).is_file():
        say(f"Report: {output / REPORT}")
    for text in summary.notes:
        note(f"Note: {text}.")
    for warning, names in summary.warnings.items():
        note(f"Note: {name_some(names, SHOWN_NAMES)}: {warning}.")
    failed = f"{len(summary.failures)} of {summary.total} images failed"
    say_failures(failed, summary.failures, f": see {output / MERGED}")
    left_out = f"{len(summary.not_exported)} of {summary.done} images could not be exported"
    say_failures(left_out, summary.not_exported)
