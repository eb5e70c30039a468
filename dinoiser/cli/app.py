"""The command `dinoiser`: its sub-commands, and what errors look like."""

from __future__ import annotations

import sys

import typer

from dinoiser.cli import compare, demo, evaluate, export, info, label, models, train
from dinoiser.cli.console import say_error
from dinoiser.errors import DinoiserError

app = typer.Typer(
    name="dinoiser",
    help="Label images with words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("label")(label.label)
app.command("export")(export.export)
app.command("train")(train.train)
app.command("demo")(demo.demo)
app.command("compare")(compare.compare)
app.add_typer(evaluate.app, name="evaluate")
app.command("info")(info.info)
app.add_typer(models.app, name="models")


def main() -> None:
    """Run the command line.

    Exits with 0 when all was done, 1 when some images failed, 2 when the
    command could not run, and 130 when it was interrupted.
    """
    try:
        app()
    except DinoiserError as error:
        say_error(str(error))
        sys.exit(2)
