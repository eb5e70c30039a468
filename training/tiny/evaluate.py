"""Measure heads of the embedded model: ``python -m training.tiny.evaluate --heads FILE``.

Four ways through the same patches, so that each head's share is seen: plain
MaskCLIP features, with pooling, with the background filter, and with both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dinoiser.evaluation.drawn_scenes import STEPS, SceneSet, mean_iou_by_step
from dinoiser.models.load import load_model

SETS = (
    ("easy 224x224", (224, 224), False),
    ("easy 320x448", (320, 448), False),
    ("hard 224x224", (224, 224), True),
    ("hard 320x448", (320, 448), True),
)


def main() -> None:
    """Print the mean intersection over union on easy and hard scenes, as a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--heads", type=Path, help="the shipped ones by default")
    parser.add_argument("--seed", type=int, default=1, help="the sets have this seed and the next")
    parser.add_argument("--count", type=int, default=100, help="scenes of each set")
    arguments = parser.parse_args()
    model = load_model("tiny", device="cpu", precision="fp32", heads=arguments.heads)
    print(f"| set | seed | {' | '.join(STEPS)} |")
    print("|---|---|" + "---|" * len(STEPS))
    for seed, (name, size, hard) in enumerate(SETS, arguments.seed):
        figures = mean_iou_by_step(model, SceneSet(name, seed, size, hard).draw(arguments.count))
        print(f"| {name} | {seed} | {' | '.join(f'{100 * figures[s]:.1f}' for s in STEPS)} |")


if __name__ == "__main__":
    main()
