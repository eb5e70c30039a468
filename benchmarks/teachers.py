"""How well teachers without labels see the segments of drawn scenes: python -m benchmarks.teachers.

Against the exact segments of scenes that nothing was trained on: IoU of the pairs of patches that
belong together, in which all segments have the same weight, and of objects. "colour" is the mean
colour of a patch in place of a network's keys.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from dinoiser_training.images import Crops
from dinoiser_training.losses import similar_pairs
from dinoiser_training.teacher_names import load_teacher
from dinoiser_training.teachers import KeyTeacher, SegmentTeacher
from dinoiser_training.validation import objects_iou, pairs_iou
from torch.nn import functional as F

from benchmarks.setting import SCENES, describe_machine
from dinoiser import load_model
from dinoiser.scenes import draw_scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dinoiser_training.teachers import Teacher
    from torch import Tensor

    from dinoiser.scenes import Scene

SIDE, PATCH, SEED = 224, 8, 8103
GRID = (SIDE // PATCH, SIDE // PATCH)


class Colour:
    """The mean colours of patches, less grey, as keys (B, 3, h, w)."""

    patch_size = PATCH

    def keys(self, pixels: Tensor) -> Tensor:
        """Return the means of patches."""
        return F.avg_pool2d(pixels, PATCH) - 0.5


class Row(NamedTuple):
    """Mean IoU in [0, 1] of objects, and of pairs at each of the thresholds."""

    objects: float
    pairs: list[float]


def crops(scenes: Sequence[Scene], labels: Sequence[np.ndarray]) -> Crops:
    """Make a batch of scenes with these labels."""
    pixels = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2)
    return Crops(pixels.float() / 255, torch.from_numpy(np.stack(labels)))


def judge(teacher: Teacher, scenes: Sequence[Scene], thresholds: Sequence[float]) -> Row:
    """Compare a teacher with the exact segments."""
    exact = SegmentTeacher("exact")
    objects, pairs = [], []
    for scene in scenes:
        find = teacher.segments or (lambda _image, scene=scene: scene.labels)
        true = exact.targets(crops([scene], [scene.labels]), GRID)
        seen = teacher.targets(crops([scene], [find(scene.image)]), GRID)
        units = [F.normalize(some.features.flatten(2), dim=1) for some in (seen, true)]
        alike = similar_pairs(units[1], 0.5)[0]
        pairs.append([pairs_iou(similar_pairs(units[0], t)[0], alike) for t in thresholds])
        objects.append(objects_iou(seen.objects, true.objects))
    return Row(float(np.nanmean(objects)), np.nanmean(pairs, 0).tolist())


def main() -> None:
    """Print a table: a line for each set of scenes and teacher."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=40, help="scenes per set")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.2, 0.5])
    options = parser.parse_args()
    model = load_model("tiny", device="cpu", precision="fp32")
    teachers = {name: load_teacher(name, model, "fp32") for name in ("regions", "dino-tiny")}
    teachers["colour"] = KeyTeacher(Colour(), "colour")
    describe_machine()
    columns = " | ".join(f"pairs, {threshold:g}" for threshold in options.thresholds)
    print(f"| scenes | teacher | objects | {columns} |")
    print("|---|---|---:|" + "---:|" * len(options.thresholds))
    for name, kind in SCENES.items():
        scenes = list(draw_scenes(options.count, SEED, (SIDE, SIDE), **kind))
        for teacher, loaded in teachers.items():
            row = judge(loaded, scenes, options.thresholds)
            pairs = " | ".join(f"{value:.3f}" for value in row.pairs)
            print(f"| {name} | {teacher} | {row.objects:.3f} | {pairs} |", flush=True)


if __name__ == "__main__":
    main()
