"""Fit the heads of the embedded model: ``python -m training.tiny.heads --out FILE``.

It uses the code of `dinoiser train`, with random initial weights and without text. The exact
segments of drawn scenes are the teacher, instead of DINO and FOUND.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dinoiser.evaluation.drawn_scenes import SceneSet, score_by_step
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
# recorded in the heads' file, so a change of wording changes that file
DATA = f"{SCENES} drawn scenes of seed {SEED}, easy and hard in turn"
HELD_OUT, HELD_OUT_SEED = 4, 920_001
SETTINGS = FitSettings.of_recipe(
    "balanced", steps=300, batch_size=8, crop=224, sample=SCENES, projection_dim=128
)
SETS = (
    SceneSet("easy 224x224", 930_000, (224, 224)),
    SceneSet("hard 224x224", 930_001, (224, 224), hard=True),
)
"""Scenes to measure progress on: neither those fitted to nor those of `evaluate`."""


def shipped_files() -> list[Path]:
    """Return the paths of the backbone and the heads in the package."""
    return [file.place() for file in find_model("tiny").files[:2]]


def load_backbone(path: Path) -> MaskClip:
    """Load a backbone with the embedded model's architecture to the CPU."""
    return MaskClip(build_clip(find_model("maskclip-tiny"), path))


def make_heads(
    backbone: Path,
    out: Path,
    settings: FitSettings = SETTINGS,
    watch: Callable[[FitProgress, DinoiserHeads], None] | None = None,
) -> None:
    """Fit heads to drawn scenes and write them as float16, with a record of how they were made.

    Parameters
    ----------
    backbone
        Weights of the frozen CLIP.
    out
        The heads' file; the same settings give the same file, byte for byte.
    settings
        Settings of the fit; the scenes do not depend on their seed.
    watch
        Called every few steps with the current heads.
    """
    images = DrawnImages(SCENES, SEED), DrawnImages(HELD_OUT, HELD_OUT_SEED)
    data = FitData(*images, digest=DATA)
    with tempfile.TemporaryDirectory() as folder:
        model = load_backbone(backbone)
        fit = Fit(model, SegmentTeacher("scenes"), data, settings, Path(folder))
        fit.run(progress=lambda now: watch(now, fit.heads) if watch else None)
    write_heads(fit.heads.half(), out, describe(backbone, settings))


def describe(backbone: Path, settings: FitSettings) -> dict[str, Any]:
    """Describe how the heads are made, for their metadata."""
    return {
        "model": "tiny",
        "backbone": digest(backbone),
        "teacher": "scenes",
        "data": DATA,
        "gamma": settings.gamma,
        "settings": asdict(settings),
    }


def measure(backbone: MaskClip, heads: DinoiserHeads, gamma: float, count: int) -> list[str]:
    """Mean IoU in per cent on `count` scenes of each of `SETS`, and in brackets MaskCLIP's."""
    model = ClipDinoiser(backbone.clip, heads, gamma)
    figures = [score_by_step(model, scenes.draw(count)) for scenes in SETS]
    return [
        f"{100 * some['full'].miou:.1f} ({100 * some['MaskCLIP'].miou:.1f})" for some in figures
    ]


def main() -> None:
    """Fit heads, print the curve as a Markdown table, and write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--backbone", type=Path, default=shipped_files()[0], help="default: the package's"
    )
    parser.add_argument("--out", type=Path, default=Path("heads.safetensors"))
    parser.add_argument("--steps", type=int, default=SETTINGS.steps)
    parser.add_argument("--every", type=int, default=100, help="steps between measurements")
    parser.add_argument("--count", type=int, default=30, help="number of scenes per set")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # with more, sums run in another order and the bits differ
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
