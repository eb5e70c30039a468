"""`dinoiser models`: list, fetch and verify models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dinoiser.cli import options
from dinoiser.cli.console import download_bar, print_json, print_table, say

app = typer.Typer(
    help="List, fetch and verify models.",
    no_args_is_help=True,
    epilog=options.example("dinoiser models fetch clip-dinoiser"),
)

Name = Annotated[
    str,
    typer.Argument(
        help="A name from `dinoiser models list`, or an open_clip model: "
        "open_clip:ARCHITECTURE:WEIGHTS.",
        metavar="NAME",
    ),
]


@app.command("list", epilog=options.example("dinoiser models list"))
def list_(as_json: options.Json = False) -> None:
    """List the models, with licence, size and whether they are cached."""
    from dinoiser.models.catalog import list_models

    models = list_models()
    if as_json:
        print_json([asdict(model) for model in models])
        return
    rows = [
        (
            model.name,
            f"{model.size / 1e6:.0f} MB",
            "yes" if model.cached else "no",
            model.licence,
            model.description,
        )
        for model in models
    ]
    columns = ("name", "size", "cached", "licence", "description")
    print_table(columns, rows, prose=("licence", "description"))


@app.command("fetch", epilog=options.example("dinoiser models fetch clip-dinoiser"))
def fetch(name: Name) -> None:
    """Download a model's weights for use without a connection."""
    from dinoiser.models.catalog import find_model
    from dinoiser.weights.fetch import fetch_all

    entry = find_model(name)
    with download_bar() as progress:
        paths = fetch_all(entry.files, progress)
    for path in paths:
        say(str(path))


@app.command("verify", epilog=options.example("dinoiser models verify clip-dinoiser"))
def verify(name: Name, as_json: options.Json = False) -> None:
    """Check a model's files against their digests.

    Exit code 1 if any file is missing or damaged.
    """
    from dinoiser.models.catalog import find_model
    from dinoiser.weights.fetch import verify as verify_files

    checks = verify_files(find_model(name).files)
    if as_json:
        print_json([{**asdict(check), "path": str(check.path)} for check in checks])
    else:
        for check in checks:
            say(f"{check.status:8} {check.file}  {check.detail}")
    if any(check.status != "ok" for check in checks):
        raise typer.Exit(1)
