"""`dinoiser models`: which there are, fetching them, checking them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dinoiser.cli import options  # noqa: TC001 (typer reads the annotations)
from dinoiser.cli.console import download_bar, print_json, stdout

app = typer.Typer(help="List, fetch and verify models.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="A name from `dinoiser models list`, or one of open_clip.")
]


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the models, their licences and sizes, and whether they are here."""
    from rich.table import Table

    from dinoiser.models.catalog import list_models

    models = list_models()
    if as_json:
        print_json([asdict(model) for model in models])
        return
    table = Table("name", "licence", "size", "here", "what it is", box=None)
    for model in models:
        size = f"{model.size / 1e6:.0f} MB"
        table.add_row(
            model.name, model.licence, size, "yes" if model.cached else "no", model.description
        )
    stdout().print(table)


@app.command("fetch")
def fetch(name: Name) -> None:
    """Fetch a model's weights, so that it works without a connection later."""
    from dinoiser.models.catalog import find_model
    from dinoiser.weights.fetch import fetch_all

    entry = find_model(name)
    with download_bar() as progress:
        paths = fetch_all(entry.files, progress)
    for path in paths:
        stdout().print(str(path), markup=False, soft_wrap=True)


@app.command("verify")
def verify(name: Name, as_json: options.Json = False) -> None:
    """Check a model's files against their digests; exit code 1 if one is missing or damaged."""
    from dinoiser.models.catalog import find_model
    from dinoiser.weights.fetch import verify as verify_files

    checks = verify_files(find_model(name).files)
    if as_json:
        print_json([{**asdict(check), "path": str(check.path)} for check in checks])
    else:
        for check in checks:
            line = f"{check.status:8} {check.file}  {check.detail}"
            stdout().print(line, markup=False, soft_wrap=True)
    if any(check.status != "ok" for check in checks):
        raise typer.Exit(1)
