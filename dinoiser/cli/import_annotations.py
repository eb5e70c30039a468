"""`dinoiser import`: annotations made elsewhere come back into a job, or begin one."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoiser.cli import options
from dinoiser.cli.console import note, print_json, print_table, say, say_error, say_failures
from dinoiser.errors import SettingsError

if TYPE_CHECKING:
    from dinoiser.bridges.imports import Imported
    from dinoiser.images.settings import ReadSettings

EXAMPLE = options.example('dinoiser import labels/ corrected.zip --map "automobile=car"')
SHOWN_UNMATCHED = 20


def import_annotations(
    places: Annotated[
        list[Path],
        typer.Argument(
            help="Folder written by `dinoiser label`, and files, folders or zips: COCO, CVAT, "
            "Label Studio, Datumaro, PNG or TIFF masks. With --new, only the latter.",
            metavar="FOLDER FILE...",
        ),
    ],
    renames: Annotated[
        list[str] | None,
        typer.Option("--map", help='A class by another name: "old=new".', metavar="OLD=NEW"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    new: Annotated[
        Path | None,
        typer.Option("--new", help="Begin a job in this folder instead.", metavar="FOLDER"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="With --new: the annotated images.", metavar="FOLDER"),
    ] = None,
    nodata: options.Nodata = None,
    bands: options.Bands = None,
    as_json: options.Json = False,
) -> None:
    """Bring annotations made elsewhere into a job.

    Masks whose pixels change are saved like corrections made in review; all
    others stay as they are.

    Exit code 0: all annotations are in; 1: some have no image or are damaged;
    2: could not run, and nothing was changed.
    """
    from dinoiser.images.settings import ReadSettings

    reading = ReadSettings.parse(nodata, bands)
    if new is not None:
        imported = _begin(new, images, places, renames or [], reading, dry_run)
    else:
        imported = _correct(places, images, renames or [], reading, dry_run)
    if as_json:
        print_json(_document(imported))
    else:
        _print(imported, dry_run)
    if imported.unmatched or imported.failures:
        raise typer.Exit(1)


def _correct(
    places: list[Path],
    images: Path | None,
    renames: list[str],
    reading: ReadSettings,
    dry_run: bool,
) -> Imported:
    from dinoiser.batch.folder import prompts_of, sole_writer
    from dinoiser.bridges.imports import import_annotations as correct

    output, *files = places
    if images is not None or not files:
        expected = "dinoiser import FOLDER FILE..., or --new FOLDER --images FOLDER FILE..."
        got = f"{len(places)} place{'s' * (len(places) > 1)}{' and --images' if images else ''}"
        msg = f"got {got}, expected {expected}"
        raise SettingsError(msg)
    if chosen := reading.options():
        msg = (
            f"{' '.join(chosen)} is for --new, as a job reads its images as it did when they were "
            "labelled; leave it out."
        )
        raise SettingsError(msg)
    prompts_of(output)  # where there is no job, nothing is written, a lock neither
    if dry_run:
        return correct(output, files, renames, dry_run=True)
    with sole_writer(output, "import"):
        return correct(output, files, renames)


def _begin(
    new: Path,
    images: Path | None,
    files: list[Path],
    renames: list[str],
    reading: ReadSettings,
    dry_run: bool,
) -> Imported:
    from dinoiser.bridges.new_job import begin_job

    if images is None:
        msg = "--new needs --images, the folder with the annotated images."
        raise SettingsError(msg)
    return begin_job(new, images, files, renames, reading=reading, dry_run=dry_run)


def _document(imported: Imported) -> dict[str, Any]:
    return {
        "changed": [change._asdict() for change in imported.changes if change.pixels],
        "unchanged": [change.image for change in imported.changes if not change.pixels],
        "without_annotations": imported.empty,
        "unmatched": imported.unmatched,
        "failed": imported.failures,
        "notes": imported.notes,
    }


def _print(imported: Imported, dry_run: bool) -> None:
    changed = [change for change in imported.changes if change.pixels]
    if changed:
        rows = [
            [c.image, f"{c.pixels:,}", ", ".join(c.new_classes), "yes" if c.replaces else ""]
            for c in changed
        ]
        columns = ["image", "pixels changed", "new classes", "was corrected before"]
        print_table(columns, rows, prose=["new classes"])
    would = "would change" if dry_run else "changed"
    say(f"{len(changed)} of {len(imported.changes)} annotated images {would}.")
    for sentence in imported.notes:
        note(f"Note: {sentence}.")
    if imported.empty:
        note(f"Note: images without any annotation are left as they are: {len(imported.empty)}.")
    if imported.unmatched:
        say_error(f"the job does not have these annotated images ({len(imported.unmatched)}):")
        for name in imported.unmatched[:SHOWN_UNMATCHED]:
            note(f"  {name}")
    say_failures(
        f"these annotations could not be used ({len(imported.failures)})", imported.failures
    )
