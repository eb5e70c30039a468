"""`dinoiser demo`: the whole tool on drawn scenes, without a connection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinoiser.cli import options
from dinoiser.cli.console import note, print_json, print_table, say

if TYPE_CHECKING:
    from dinoiser.batch import Summary
    from dinoiser.evaluation.drawn_scenes import StepScore

IMAGES = 8
IMAGE_SIZE = (320, 448)
IMAGE_SEED = 2026
MEASURED = 20
"""Scenes of a set that the demo measures on, for speed; the tests take all of them."""

EXAMPLE = options.example("dinoiser demo -o demo-output/")


def demo(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder for images and results.", metavar="FOLDER"),
    ] = Path("demo-output"),
    as_json: options.Json = False,
) -> None:
    """Label drawn scenes with the embedded model, and measure it.

    Needs no connection.
    """
    from dinoiser import load_model
    from dinoiser.evaluation.drawn_scenes import SCENE_SETS, score_by_step

    start = time.perf_counter()
    note(f"Drawing {IMAGES} scenes and labelling them with words ...")
    summary = _label_images(output)
    note(f"Measuring on {len(SCENE_SETS)} sets of {MEASURED} scenes it was not trained on ...")
    model = load_model("tiny")
    figures = {scenes.name: score_by_step(model, scenes.draw(MEASURED)) for scenes in SCENE_SETS}
    if as_json:
        print_json(
            {
                "labelled": summary.done,
                "mean_iou": _by_step(figures, "miou"),
                "boundary_iou": _by_step(figures, "boundary"),
                "output": str(output),
            }
        )
        return
    _print_figures(figures)
    say(f"{summary.done} images labelled in {output / 'labels'}; previews with legends:")
    for path in sorted((output / "labels" / "overlays").glob("*.jpg")):
        say(f"  {path}")
    say(
        f"Done in {time.perf_counter() - start:.0f} s. The embedded model knows only drawn "
        "shapes, their colours and backgrounds. For photographs, run `dinoiser label` with "
        "another model, such as the default."
    )


def _label_images(output: Path) -> Summary:
    """Run a real job: draw images, and ask for every class that is in one of them."""
    from PIL import Image

    from dinoiser.batch import LabelJob, Labelling, Running, SegmentSettings, run
    from dinoiser.export.image_file import write_image
    from dinoiser.prompts import PromptSet
    from dinoiser.scenes import draw_scenes

    names: dict[str, None] = {}
    for i, scene in enumerate(draw_scenes(IMAGES, IMAGE_SEED, IMAGE_SIZE), start=1):
        names |= dict.fromkeys(scene.names)
        write_image(Image.fromarray(scene.image), output / "images" / f"scene-{i}.png")
    job = LabelJob(
        inputs=(output / "images",),
        output=output / "labels",
        labelling=Labelling(
            prompts=PromptSet.from_names(["background", *names]),
            model="tiny",
            settings=SegmentSettings(whole=True),
        ),
        running=Running(overwrite=True),
    )
    return run(job)


def _print_figures(figures: dict[str, dict[str, StepScore]]) -> None:
    from dinoiser.evaluation.drawn_scenes import STEPS

    for kind, title in (("miou", "Mean IoU"), ("boundary", "Boundary IoU")):
        say(f"{title} after each step of the method:")
        rows = [
            [name, *(f"{by_step[step]:.3f}" for step in STEPS)]
            for name, by_step in _by_step(figures, kind).items()
        ]
        print_table(["scenes", *STEPS], rows)


def _by_step(figures: dict[str, dict[str, StepScore]], kind: str) -> dict[str, dict[str, float]]:
    return {
        name: {step: getattr(score, kind) for step, score in by_step.items()}
        for name, by_step in figures.items()
    }
