"""Measure the embedded model: ``python -m training.tiny.evaluate --heads FILE``.

Four variants on the same patches show the effect of each head: plain MaskCLIP
features, with pooling, with the background filter, and with both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dinoiser.evaluation.drawn_scenes import STEPS, SceneSet, score_by_step
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.weights.checkpoint import read_metadata

from .heads import load_backbone, shipped_files

SETS = (
    ("easy 224x224", (224, 224), False),
    ("easy 320x448", (320, 448), False),
    ("hard 224x224", (224, 224), True),
    ("hard 320x448", (320, 448), True),
)


def main() -> None:
    """Print the mean intersection over union on easy and hard scenes, as a Markdown table."""
    backbone, heads = shipped_files()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--backbone", type=Path, default=backbone, help="default: the package's")
    parser.add_argument("--heads", type=Path, default=heads, help="default: the package's")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the first set; the others have the next ones"
    )
    parser.add_argument("--count", type=int, default=100, help="number of scenes per set")
    arguments = parser.parse_args()
    clip, gamma = load_backbone(arguments.backbone).clip, read_metadata(arguments.heads)["gamma"]
    model = ClipDinoiser(clip, DinoiserHeads.load(arguments.heads), float(gamma))
    print(f"| set | seed | {' | '.join(STEPS)} |")
    print("|---|---|" + "---|" * len(STEPS))
    for seed, (name, size, hard) in enumerate(SETS, arguments.seed):
        figures = score_by_step(model, SceneSet(name, seed, size, hard).draw(arguments.count))
        print(f"| {name} | {seed} | {' | '.join(f'{100 * figures[s].miou:.1f}' for s in STEPS)} |")


if __name__ == "__main__":
    main()
