"""`dinoiser export`: other formats from the masks of a job."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated

import typer

from dinoiser.cli import options  # noqa: TC001 (typer reads the annotations)
from dinoiser.cli.console import INTERRUPTED, print_json, say_error, stdout
from dinoiser.cli.job_bars import JobBars

if TYPE_CHECKING:
    from dinoiser.export import ExportOptions


def export(
    output: Annotated[Path, typer.Argument(help="Folder that `dinoiser label` has filled.")],
    formats: Annotated[
        list[str],
        typer.Option(
            "-f", "--format", help="coco, panoptic, yolo, overlay or png; again for more."
        ),
    ],
    polygons: options.Polygons = False,
    instances: options.Instances = False,
    min_area: options.MinArea = 0,
    as_json: options.Json = False,
) -> None:
    """Write the masks of a job, corrected ones too, as COCO, panoptic, YOLO or previews.

    The job's report, where there is one, is written anew.

    Exit code 0: all written; 2: could not run.
    """
    from dinoiser.batch.report.page import REPORT_FILE, write_report
    from dinoiser.export import ExportOptions

    shape = ExportOptions(polygons=polygons, instances=instances, min_area=min_area)
    images = _run(output, formats, shape)
    if (output / REPORT_FILE).is_file():
        write_report(output)
    if as_json:
        print_json({"output": str(output), "formats": formats, "images": images})
    else:
        said = f"{images} images exported as {', '.join(formats)}: {output}"
        stdout().print(said, markup=False, soft_wrap=True)


def _run(output: Path, formats: list[str], shape: ExportOptions) -> int:
    """Export behind a progress bar; the number of images."""
    from dinoiser.batch import Progress, export

    bars, images = JobBars(), 0

    def advance(through: int, total: int) -> None:
        nonlocal images
        images = through
        bars.show(Progress("export", through, total))

    try:
        export(output, formats, shape, progress=advance)
    except KeyboardInterrupt as stop:
        bars.stop()
        say_error("Stopped. Run the same command again to export all.")
        raise typer.Exit(INTERRUPTED) from stop
    finally:
        bars.stop()
    return images
