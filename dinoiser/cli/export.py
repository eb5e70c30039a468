"""`dinoiser export`: other formats from the masks of a job."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated

import typer

from dinoiser.cli import options
from dinoiser.cli.console import print_json, say, say_failures
from dinoiser.cli.job_bars import progress_shown
from dinoiser.errors import SettingsError, refuse_settings

if TYPE_CHECKING:
    from dinoiser.export import ExportOptions

WHAT_FOR = {
    "--polygons": {"coco"},
    "--layout": {"coco"},
    "--val": {"yolo", "voc"},
    "--flat": {"yolo"},
}
"""Options that only some formats have."""
EXAMPLE = options.example("dinoiser export labels/ -f coco,yolo --instances")


def export(
    output: options.JobFolder,
    formats: Annotated[
        list[str],
        typer.Option(
            "-f",
            "--format",
            help="coco, panoptic, yolo, voc, gray, geotiff, cvat, labelstudio, hf, overlay, png: "
            "one or more, separated by commas.",
            metavar="FORMATS",
            callback=options.read_formats,
        ),
    ],
    polygons: options.Polygons = False,
    instances: options.Instances = False,
    split: options.Split = None,
    min_area: options.MinArea = 0,
    layout: Annotated[
        str,
        typer.Option(help="COCO: plain, or datumaro for its folders.", metavar="LAYOUT"),
    ] = "plain",
    val: Annotated[
        float,
        typer.Option(
            help="YOLO and VOC: share of the images to list for validation.", metavar="SHARE"
        ),
    ] = 0.0,
    flat: Annotated[
        bool, typer.Option("--flat", help="YOLO: all in one folder, a/b.jpg as a__b.jpg.")
    ] = False,
    image_url: Annotated[
        str,
        typer.Option(
            "--image-url", help="Label Studio: what precedes images' names.", metavar="URL"
        ),
    ] = "/data/local-files/?d=",
    as_json: options.Json = False,
) -> None:
    """Export a job's masks for other programs.

    Masks corrected in review are exported as corrected. If the job has a
    report, it is updated.

    Images whose masks cannot be read as classes are named and left out.

    Exit code 0: everything exported; 1: some images left out; 2: could not run.
    """
    from dinoiser.batch.job import format_problems
    from dinoiser.batch.summary import count_images
    from dinoiser.export import ExportOptions

    shape = ExportOptions(
        polygons=polygons,
        instances=instances,
        min_area=min_area,
        layout=layout,
        val=val,
        flat=flat,
        image_url=image_url,
        **options.given(split=split),
    )
    refuse_settings(format_problems(formats))
    given = {"--polygons": polygons, "--layout": layout != "plain", "--val": val, "--flat": flat}
    _refuse_without_effect([name for name, value in given.items() if value], formats)
    images, failures = _run(output, formats, shape)
    if as_json:
        document = {"output": str(output), "formats": formats, "images": images}
        print_json({**document, "failed": failures})
    else:
        say(f"{count_images(images)} exported as {', '.join(formats)}: {output}")
        total = images + len(failures)
        say_failures(f"{len(failures)} of {total} images could not be exported", failures)
    if failures:
        raise typer.Exit(1)


def _refuse_without_effect(given: list[str], formats: list[str]) -> None:
    for name in given:
        if not WHAT_FOR[name].intersection(formats):
            msg = (
                f"{name} changes nothing in {', '.join(formats)}: it is for "
                f"{' and '.join(sorted(WHAT_FOR[name]))}; add the format, or leave the option out."
            )
            raise SettingsError(msg)


def _run(output: Path, formats: list[str], shape: ExportOptions) -> tuple[int, dict[str, str]]:
    """Export behind a progress bar; the number of images, and why others are left out."""
    from dinoiser.batch import Progress
    from dinoiser.batch.export import export_alone

    images = 0
    with progress_shown("Stopped. Run the same command again to export everything.") as show:

        def advance(through: int, total: int) -> None:
            nonlocal images
            images = through
            show(Progress("export", through, total))

        failures = export_alone(output, formats, shape, progress=advance)
    return images - len(failures), failures
