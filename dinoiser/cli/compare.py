"""`dinoiser compare`: what several models make of the same words, side by side."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoiser.cli import options  # noqa: TC001 (typer reads the annotations)
from dinoiser.cli.console import download_bar, print_json, stderr, stdout
from dinoiser.cli.label import read_prompts

if TYPE_CHECKING:
    from dinoiser.evaluation.agreement import Comparison


def compare(
    paths: options.Paths,
    models: Annotated[
        str, typer.Option("-m", "--models", help="Two or more models, separated by commas.")
    ] = "clip-dinoiser,maskclip",
    prompt: options.Prompt = None,
    prompts: options.PromptFile = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="PNG file for the drawing.")
    ] = Path("comparison.png"),
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Draw what several models make of the same words, and where they disagree."""
    from dinoiser.evaluation.agreement import compare_models
    from dinoiser.export.comparison import ComparisonRow, write_comparison
    from dinoiser.images.inputs import find_images

    words = read_prompts(prompt, prompts, None)
    images = find_images(paths)
    names = [name.strip() for name in models.split(",") if name.strip()]
    with ExitStack() as stack:
        downloads = stack.enter_context(download_bar())

        def advance(model: str, done: int, total: int) -> None:
            stack.pop_all().close()
            stderr().print(f"{model}: {done} of {total} images labelled", markup=False)

        comparisons = compare_models(
            [image.path for image in images],
            words,
            names,
            device=device,
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
    from rich.table import Table
    from rich.text import Text

    pairs = list(next(iter(comparisons.values())).pairs())
    columns = [" = ".join(models) for models in pairs]
    table = Table("image", *columns, *(["all"] if len(pairs) > 1 else []), box=None)
    for name, one in comparisons.items():
        shares = [*one.pairs().values(), *([one.agreement] if len(pairs) > 1 else [])]
        table.add_row(Text(name), *(f"{share:.1%}" for share in shares))
    console = stdout()
    console.print("Share of pixels with the same class:")
    console.print(table)
    console.print(f"Drawn side by side: {output}", markup=False, soft_wrap=True)
