"""Arguments and options that several commands have, each with its flags and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Paths = Annotated[list[str], typer.Argument(help="Images, folders or globs.")]
Prompt = Annotated[
    str | None, typer.Option("-p", "--prompt", help='Classes: "background, dog; puppy, grass".')
]
PromptFile = Annotated[
    Path | None, typer.Option("--prompts", help="Prompt file (YAML) instead of -p.")
]

Model = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        help="See `dinoiser models list`; or a ViT of open_clip, as in "
        "open_clip:ViT-B-32:laion2b_s34b_b79k.",
    ),
]
Device = Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="Of the networks: auto, fp32, bf16 or fp16.")
]
Heads = Annotated[
    Path | None, typer.Option("--heads", help="Heads of your own instead of the model's.")
]

Scheduler = Annotated[
    str,
    typer.Option(
        "--scheduler", help="auto, local, sync, or the address of a dask scheduler: tcp://..."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Processes on this machine. Default: one a GPU, or one."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew instead of resuming.")]

Polygons = Annotated[
    bool, typer.Option("--polygons", help="COCO: polygons instead of run lengths.")
]
Instances = Annotated[
    bool,
    typer.Option("--instances", help="One annotation a connected part, not one a class."),
]
MinArea = Annotated[int, typer.Option("--min-area", help="Leave out annotations of fewer pixels.")]

Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on stdout.")]
