"""`dinoiser compare`: what several models make of the same words, side by side."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoiser.atomic import check_writable
from dinoiser.cli import options
from dinoiser.cli.console import download_bar, note, print_json, print_table, say
from dinoiser.cli.label import read_prompts
from dinoiser.errors import SettingsError

if TYPE_CHECKING:
    from dinoiser.evaluation.agreement import Comparison

EXAMPLE = options.example('dinoiser compare photo.jpg -m clip-dinoiser,maskclip -p "dog, grass"')


def compare(
    paths: options.Paths,
    models: Annotated[
        list[str],
        typer.Option(
            "-m",
            "--models",
            help="Two or more models, separated by commas.",
            metavar="MODELS",
            callback=options.split_at_commas,
        ),
    ] = ["clip-dinoiser,maskclip"],  # noqa: B006 (typer copies it)
    prompt: options.Prompt = None,
    prompts: options.PromptFile = None,
    nodata: options.Nodata = None,
    bands: options.Bands = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="PNG file for the drawing.", metavar="FILE")
    ] = Path("comparison.png"),
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Show where several models disagree on the same words.

    Draws the images, each model's labels and the disagreement side by side.
    """
    from dinoiser.evaluation.agreement import compare_models
    from dinoiser.export.comparison import ComparisonRow, write_comparison
    from dinoiser.images.inputs import find_images
    from dinoiser.images.settings import ReadSettings

    reading = ReadSettings.parse(nodata, bands)
    words = read_prompts(prompt, prompts, None)
    _check_output(output)
    images = find_images(paths)
    with ExitStack() as stack:
        downloads = stack.enter_context(download_bar())

        def advance(model: str, done: int, total: int) -> None:
            stack.pop_all().close()
            note(f"{model}: {done} of {total} images labelled")

        comparisons = compare_models(
            [image.path for image in images],
            words,
            models,
            device=device,
            reading=reading,
            progress=advance,
            download_progress=downloads,
        )
    named = list(zip([image.name for image in images], comparisons, strict=True))
    rows = [ComparisonRow(name, *one, one.answers, one.agreement) for name, one in named]
    write_comparison(rows, words, output)
    if as_json:
        print_json(_document(dict(named), output))
    else:
        _print_agreement(dict(named), output)


def _check_output(output: Path) -> None:
    if output.suffix.lower() != ".png" or output.is_dir():
        msg = (
            f"The drawing cannot be written to {output}: give a file whose name ends in .png, "
            "such as comparison.png."
        )
        raise SettingsError(msg)
    check_writable(output.parent)


def _document(comparisons: dict[str, Comparison], output: Path) -> dict[str, Any]:
    images = [
        {"image": name, "agreement": one.agreement, "pairs": _pairs(one)}
        for name, one in comparisons.items()
    ]
    mean = sum(one.agreement for one in comparisons.values()) / len(comparisons)
    return {"output": str(output), "agreement": mean, "images": images}


def _pairs(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {"models": list(models), "agreement": share} for models, share in comparison.pairs().items()
    ]


def _print_agreement(comparisons: dict[str, Comparison], output: Path) -> None:
    pairs = list(next(iter(comparisons.values())).pairs())
    several = len(pairs) > 1
    columns = [" = ".join(models) for models in pairs] + ["all"] * several
    shares = {
        name: [*one.pairs().values()] + [one.agreement] * several
        for name, one in comparisons.items()
    }
    say("Share of pixels that get the same class:")
    print_table(
        ["image", *columns],
        [[name, *(f"{share:.1%}" for share in row)] for name, row in shares.items()],
    )
    say(f"Side by side: {output}")
