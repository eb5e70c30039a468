"""Fit heads of the embedded model as people fit theirs: ``python -m training.on_scenes``.

The same code as `dinoiser train`, on drawn scenes with their exact segments as the teacher, from
random weights. Prints how right the labels are on the way; the scenes measured are not those
of the other recipes or of `evaluate`.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

from dinoiser.evaluation.drawn_scenes import SceneSet, mean_iou_by_step
from dinoiser.models.catalog import find_model
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.digests import digest
from dinoiser.models.load import load_model

from .data import FitData
from .fit import Fit
from .heads_file import write_heads
from .pictures import DrawnPictures
from .settings import FitSettings
from .teachers import SegmentTeacher

SCENES, SEED = 3000, 920_000
DATA = f"{SCENES} drawn scenes of seed {SEED}"
HELD_OUT, HELD_OUT_SEED = 16, 920_001
SETS = (
    SceneSet("easy 224x224", 930_000, (224, 224)),
    SceneSet("hard 224x224", 930_001, (224, 224), hard=True),
)


def measure(heads: DinoiserHeads, gamma: float, count: int, step: str = "full") -> str:
    """Mean IoU in per cent with the heads on `SETS`, as cells of a table."""
    clip = load_model("maskclip-tiny", device="cpu", precision="fp32").clip
    model = ClipDinoiser(clip, heads, gamma)
    figures = [mean_iou_by_step(model, some.draw(count))[step] for some in SETS]
    return " | ".join(f"{100 * figure:.1f}" for figure in figures)


def fit_on_scenes(settings: FitSettings, every: int, count: int) -> DinoiserHeads:
    """Fit heads from random weights; print a row of figures after so many steps each."""
    model = load_model("maskclip-tiny", device="cpu")
    pictures = DrawnPictures(SCENES, SEED), DrawnPictures(HELD_OUT, HELD_OUT_SEED)
    data = FitData(*pictures, digest=DATA)
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(-(-settings.steps // every)):
            fit = Fit(model, SegmentTeacher("scenes"), data, settings, Path(folder))
            began = time.perf_counter()
            stop = map(every.__le__, itertools.count(1)).__next__
            result = fit.run(resume=turn > 0, cancelled=stop)
            seconds += time.perf_counter() - began
            now = result.progress
            row = (
                f"| {now.step} | {seconds:.0f} | {now.correlation_loss:.4f} "
                f"| {now.objectness_loss:.4f} | {measure(result.heads, settings.gamma, count)} |"
            )
            print(row, flush=True)
    return result.heads


def main() -> None:
    """Fit heads of the embedded model on drawn scenes, print the curve and write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("refitted.safetensors"))
    parser.add_argument("--recipe", default="balanced", help="published or balanced")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--every", type=int, default=300, help="steps between two measurements")
    parser.add_argument("--count", type=int, default=30, help="scenes of each set measured")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    print(f"| step | seconds | correlation | objects | {' | '.join(s.name for s in SETS)} |")
    print("|---|---|---|---|" + "---|" * len(SETS))
    shipped = load_model("tiny", device="cpu", precision="fp32")
    assert isinstance(shipped, ClipDinoiser)
    for name, step in (("plain MaskCLIP", "MaskCLIP"), ("shipped heads", "full")):
        print(f"| {name} | | | | {measure(shipped.heads, shipped.gamma, arguments.count, step)} |")
    settings = FitSettings.of_recipe(
        arguments.recipe, steps=arguments.steps, batch_size=8, crop=224, sample=SCENES
    )
    heads = fit_on_scenes(settings, arguments.every, arguments.count)
    made_of = {
        "model": "tiny",
        "backbone": digest(find_model("tiny").files[0].place()),
        "teacher": "scenes",
        "data": DATA,
        "gamma": settings.gamma,
        "settings": asdict(settings),
    }
    write_heads(heads, arguments.out, made_of)


if __name__ == "__main__":
    main()
