"""What several commands share: arguments and options, and how help shows an example."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dinoiser.errors import PromptError, SettingsError


def example(command: str) -> str:
    """Epilog of a help text, indented so that it is a code block where typer writes Markdown."""
    return f"Example:\n\n    {command}"


def split_at_commas(values: list[str]) -> list[str]:
    """Read ``-x a,b`` and ``-x a -x b`` alike."""
    names = [name.strip() for value in values for name in value.split(",")]
    return [name for name in names if name]


def read_formats(values: list[str] | None) -> list[str] | None:
    """Split the formats given; None where the option was left out.

    Raises
    ------
    SettingsError
        The option was given without any format.
    """
    if not values:
        return None
    formats = split_at_commas(values)
    if not formats:
        msg = f"-f is {','.join(values)!r}, expected at least one format, such as -f png,coco."
        raise SettingsError(msg)
    return list(dict.fromkeys(formats))


def given(**values: Any) -> dict[str, Any]:
    """Return the options that were given; the others keep the defaults of the library."""
    return {name: value for name, value in values.items() if value is not None}


def read_words(words: str | None) -> str | None:
    """Refuse a prompt file, and words whose letters the locale has not let through.

    Raises
    ------
    PromptError
        They name a file, or were typed in UTF-8 and read in another encoding.
    """
    if words and words.strip().lower().endswith((".yaml", ".yml")):
        msg = f"-p takes words, and {words!r} is the name of a file: give it with --prompts."
        raise PromptError(msg)
    if words is None or words.isascii() or not _is_garbled(words):
        return words
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    locale = next((f"{name}={os.environ[name]}" for name in names if os.environ.get(name)), "C")
    msg = (
        f"The words after -p cannot be read, as the locale ({locale}) is not one of UTF-8: set "
        "LC_ALL=C.UTF-8, or write the words into a file and give it with --prompts."
    )
    raise PromptError(msg)


def _is_garbled(words: str) -> bool:
    try:
        typed = words.encode(sys.getfilesystemencoding(), "surrogateescape")
        return typed.decode() != words
    except UnicodeDecodeError:  # text in another encoding than UTF-8, read as such
        return any("\udc80" <= letter <= "\udcff" for letter in words)
    except UnicodeEncodeError:
        return False


Paths = Annotated[list[str], typer.Argument(help="Images, folders or globs.", metavar="PATH")]
Prompt = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--prompt",
        help="Classes, separated by commas; a class's phrases by semicolons: "
        '"background, dog; puppy, grass".',
        metavar="WORDS",
        callback=read_words,
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option("--prompts", help="Prompt file (YAML) instead of -p.", metavar="FILE"),
]

Model = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        help="A name from `dinoiser models list`, or any ViT of open_clip, such as "
        "open_clip:ViT-B-32:laion2b_s34b_b79k.",
        metavar="MODEL",
    ),
]
Nodata = Annotated[
    float | None,
    typer.Option(
        "--nodata",
        help="Pixels of this value in TIFF files become 255 (ignored), as those do that a file "
        "declares.",
        metavar="VALUE",
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        "--bands",
        help="Bands to use as red, green and blue, or the one to use as grey, counted from 1 as in "
        "GDAL and QGIS: 4,3,2.",
        metavar="NUMBERS",
    ),
]
Device = Annotated[
    str,
    typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:1 or mps.", metavar="DEVICE"),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="Of the networks: auto, fp32, bf16 or fp16.", metavar="PRECISION"
    ),
]
Heads = Annotated[
    Path | None,
    typer.Option(
        "--heads",
        help="Heads from `dinoiser train` instead of the model's.",
        metavar="FILE",
    ),
]

Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler",
        help="auto, local, sync, or the address of a dask scheduler: tcp://...",
        metavar="WHERE",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Local processes. Default: one per GPU, or as many as suit the cores and the memory.",
        metavar="NUMBER",
    ),
]
JobFolder = Annotated[
    Path, typer.Argument(help="Folder written by `dinoiser label`.", metavar="FOLDER")
]
IgnoreBelow = Annotated[
    float | None,
    typer.Option(help="Pixels of a lower confidence become 255 (ignored).", metavar="CONFIDENCE"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start over instead of resuming.")]

Polygons = Annotated[
    bool, typer.Option("--polygons", help="COCO: polygons instead of run-length encoding.")
]
Instances = Annotated[
    bool,
    typer.Option("--instances", help="One annotation per object instead of one per class."),
]
Split = Annotated[
    float | None,
    typer.Option(
        help="With --instances: how eagerly what touches is split at its necks, from 0 (connected "
        "parts) to 1. Default: 0.7.",
        metavar="SHARE",
    ),
]
MinArea = Annotated[
    int,
    typer.Option("--min-area", help="Leave out annotations smaller than this.", metavar="PIXELS"),
]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
