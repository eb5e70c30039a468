"""Fit the heads of the embedded model: ``python -m training.tiny.heads --out FILE``.

The same code as `dinoiser train`, from random weights and without any text. Drawn scenes' exact
segments are the teacher; they stand in for DINO and FOUND.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dinoiser.evaluation.drawn_scenes import SceneSet, mean_iou_by_step
from dinoiser.models.catalog import find_model
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.models.load import build_clip
from dinoiser.models.maskclip import MaskClip
from dinoiser.weights.digests import digest

from ..data import FitData
from ..fit import Fit
from ..heads_file import write_heads
from ..images import DrawnImages
from ..settings import FitSettings
from ..teachers import SegmentTeacher

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.models.clip_dinoiser import DinoiserHeads

    from ..fit import FitProgress

SCENES, SEED = 2400, 920_000
DATA = f"{SCENES} drawn scenes of seed {SEED}, easy and hard in turn"
HELD_OUT, HELD_OUT_SEED = 4, 920_001
SETTINGS = FitSettings.of_recipe(
    "balanced", steps=300, batch_size=8, crop=224, sample=SCENES, projection_dim=128
)
SETS = (
    SceneSet("easy 224x224", 930_000, (224, 224)),
    SceneSet("hard 224x224", 930_001, (224, 224), hard=True),
)
"""What the curve is measured on: neither the scenes fitted to nor those of `evaluate`."""


def shipped_files() -> list[Path]:
    """Where the backbone and the heads in the package lie."""
    return [file.place() for file in find_model("tiny").files[:2]]


def load_backbone(path: Path) -> MaskClip:
    """Load a backbone of the embedded model's sizes, onto the CPU."""
    return MaskClip(build_clip(find_model("maskclip-tiny"), path))


def make_heads(
    backbone: Path,
    out: Path,
    settings: FitSettings = SETTINGS,
    watch: Callable[[FitProgress, DinoiserHeads], None] | None = None,
) -> None:
    """Fit heads to drawn scenes and write them as float16, with everything that made them.

    Parameters
    ----------
    backbone
        Weights of the frozen CLIP.
    out
        The heads' file, which the same settings make byte for byte the same.
    settings
        How they are fitted; the scenes do not depend on its seed.
    watch
        Called every few steps with the heads as they are then.
    """
    images = DrawnImages(SCENES, SEED), DrawnImages(HELD_OUT, HELD_OUT_SEED)
    data = FitData(*images, digest=DATA)
    with tempfile.TemporaryDirectory() as folder:
        model = load_backbone(backbone)
        fit = Fit(model, SegmentTeacher("scenes"), data, settings, Path(folder))
        result = fit.run(progress=lambda now: watch(now, fit.heads) if watch else None)
    write_heads(result.heads.half(), out, describe(backbone, settings))


def describe(backbone: Path, settings: FitSettings) -> dict[str, Any]:
    """Collect what makes the heads, for their metadata."""
    return {
        "model": "tiny",
        "backbone": digest(backbone),
        "teacher": "scenes",
        "data": DATA,
        "gamma": settings.gamma,
        "settings": asdict(settings),
    }


def measure(backbone: MaskClip, heads: DinoiserHeads, gamma: float, count: int) -> list[str]:
    """Mean IoU in per cent on so many scenes of each of `SETS`, plain MaskCLIP's beside it."""
    model = ClipDinoiser(backbone.clip, heads, gamma)
    figures = [mean_iou_by_step(model, scenes.draw(count)) for scenes in SETS]
    return [f"{100 * some['full']:.1f} ({100 * some['MaskCLIP']:.1f})" for some in figures]


def main() -> None:
    """Fit heads, print the curve as a Markdown table, and write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--backbone", type=Path, default=shipped_files()[0], help="the package's")
    parser.add_argument("--out", type=Path, default=Path("heads.safetensors"))
    parser.add_argument("--steps", type=int, default=SETTINGS.steps)
    parser.add_argument("--every", type=int, default=100, help="steps between two measurements")
    parser.add_argument("--count", type=int, default=30, help="scenes of each set measured")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # with more, sums come in another order and the bits are others
    settings = replace(SETTINGS, steps=arguments.steps)
    backbone = load_backbone(arguments.backbone)

    def print_row(now: FitProgress, heads: DinoiserHeads) -> None:
        if now.step % arguments.every == 0 or now.step == now.steps:
            figures = measure(backbone, heads, settings.gamma, arguments.count)
            losses = f"{now.correlation_loss:.4f} | {now.objectness_loss:.4f}"
            print(f"| {now.step} | {losses} | {' | '.join(figures)} |", flush=True)

    print(f"| step | correlation | objects | {' | '.join(scenes.name for scenes in SETS)} |")
    print("|---|---|---|" + "---|" * len(SETS))
    make_heads(arguments.backbone, arguments.out, settings, print_row)


if __name__ == "__main__":
    main()
