"""The command `dinoiser`: its sub-commands, and what errors look like."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import dinoiser
from dinoiser.cli import (
    compare,
    demo,
    diagnose,
    evaluate,
    export,
    features,
    import_annotations,
    improve,
    info,
    label,
    models,
    relabel,
    train,
)
from dinoiser.cli.console import (
    escape_what_stdout_lacks,
    note,
    say,
    say_error,
    second_ctrl_c_stops_at_once,
    sigterm_is_ctrl_c,
)
from dinoiser.cli.options import example
from dinoiser.cli.typed_names import as_typed
from dinoiser.errors import DinoiserError, PromptError

app = typer.Typer(
    name="dinoiser",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example('dinoiser label photos/ -p "background, dog" -o labels/'),
)
app.command("label", epilog=label.EXAMPLE)(label.label)
app.command("relabel", epilog=relabel.EXAMPLE)(relabel.relabel)
app.command("improve", epilog=improve.EXAMPLE)(improve.improve)
app.command("diagnose", epilog=diagnose.EXAMPLE)(diagnose.diagnose)
app.command("features", epilog=features.EXAMPLE)(features.features)
app.command("export", epilog=export.EXAMPLE)(export.export)
app.command("import", epilog=import_annotations.EXAMPLE)(import_annotations.import_annotations)
app.command("train", epilog=train.EXAMPLE)(train.train)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("compare", epilog=compare.EXAMPLE)(compare.compare)
app.add_typer(evaluate.app, name="evaluate")
app.command("info", epilog=info.EXAMPLE)(info.info)
app.add_typer(models.app, name="models")


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"dinoiser {dinoiser.__version__}")
        raise typer.Exit


@app.callback()
def top_level(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Label images with words."""


def main() -> None:
    """Run the command line.

    Exits with 0 when all was done, 1 when some images failed, 2 when the
    command could not run, 130 when Ctrl-C stopped it and 143 when SIGTERM did.
    """
    escape_what_stdout_lacks()
    with second_ctrl_c_stops_at_once(), sigterm_is_ctrl_c():
        try:
            app(prog_name="dinoiser")
        except DinoiserError as error:
            sentence = as_typed(str(error), sys.argv[1:])
            # of words, several things may be wrong, each on a line; in other sentences, a line
            # may only end within a file's name
            first, *rest = sentence.split("\n") if isinstance(error, PromptError) else [sentence]
            say_error(first)
            for problem in rest:
                note(problem)
            sys.exit(2)
