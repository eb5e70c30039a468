"""`dinoiser features`: what a job keeps of its images' features."""

from __future__ import annotations

from typing import Annotated

import typer

from dinoiser.cli import options
from dinoiser.cli.console import print_json, say

EXAMPLE = options.example("dinoiser features labels/ --remove")
MEGABYTE = 2**20


def features(
    output: options.JobFolder,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove them, and give back the space.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show how much space a job's kept features take, or remove them."""
    from dinoiser.batch.features import measure_features, remove_features
    from dinoiser.batch.folder import prompts_of, sole_writer
    from dinoiser.batch.summary import count_images

    prompts_of(output)  # it is a job's folder
    images, size = measure_features(output)
    if remove:
        with sole_writer(output, "features"):
            remove_features(output)
    if as_json:
        print_json({"output": str(output), "images": images, "bytes": size, "removed": remove})
        return
    done = "removed" if remove else "kept"
    say(f"Features of {count_images(images)} {done}, {size / MEGABYTE:,.1f} MB: {output}")
