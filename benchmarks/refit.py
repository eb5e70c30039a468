"""What refitted heads gain on images of other domains: python -m benchmarks.refit.

Mean IoU and boundary IoU of the embedded model, words unchanged, on scenes that no heads have seen:
without heads, with the shipped ones, with heads refitted by teachers that need no labels (regions
of similar colour, and the embedded ViT `dino-tiny`), and with heads refitted by masks. Refitted
heads are those of the best step on images kept back, as by `dinoiser train`; "better" is how often
that command would have said that they are better. "perfect" is what heads would do that pool by the
true masks and know the true objects.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from dinoiser_training.data import FOLDED, HELD_OUT, FitData, Subset
from dinoiser_training.fit import Fit
from dinoiser_training.images import Crops, TrainingImage
from dinoiser_training.judged_fit import JudgedFit
from dinoiser_training.regions import find_regions
from dinoiser_training.settings import FitSettings
from dinoiser_training.teacher_names import load_teacher
from dinoiser_training.teachers import SegmentTeacher

from benchmarks.setting import SCENES, describe_machine
from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.evaluation.boundaries import Band
from dinoiser.evaluation.mask_scores import Counts, count_labels
from dinoiser.models.base import PatchFeatures
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.pooling import pool_by_correlation
from dinoiser.scenes import DOMAINS, SHAPES, draw_scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dinoiser import Learned
    from dinoiser.models.clip_dinoiser import DinoiserHeads
    from dinoiser.scenes import Scene

SIDE = 224
KEPT_BACK = HELD_OUT[0]
WORDS = ("background", *SHAPES)
TEACHERS = ("regions", "dino-tiny", "masks")
SETTINGS = FitSettings.of_recipe("balanced", crop=SIDE, projection_dim=128)


class Row(NamedTuple):
    """Scores in [0, 1], seconds of the fit, and whether the heads are better than the shipped."""

    miou: float
    boundary: float
    seconds: float = 0.0
    better: bool = False


@dataclass(frozen=True)
class Taught:
    """Scenes with the segments of a teacher: "regions", or the "masks" of their shapes, or none."""

    scenes: Sequence[Scene]
    teacher: str

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.scenes)

    @lru_cache(None)  # noqa: B019 (as long as the benchmark)
    def _labels(self, index: int) -> Tensor | None:
        scene = self.scenes[index]
        if self.teacher == "regions":
            return torch.from_numpy(find_regions(scene.image))
        return torch.from_numpy(shapes_of(scene)) if self.teacher == "masks" else None

    def __getitem__(self, index: int) -> TrainingImage:
        """Return a scene."""
        pixels = torch.from_numpy(self.scenes[index].image).permute(2, 0, 1).contiguous()
        return TrainingImage(pixels, self._labels(index))

    def __hash__(self) -> int:
        """Tell scenes apart by identity."""
        return id(self)


def shapes_of(scene: Scene) -> np.ndarray:
    """Labels (H, W) uint8 of a scene by shape: 0 is background."""
    numbers = [WORDS.index(name.split()[1]) for name in scene.names]
    return np.array([0, *numbers], np.uint8)[scene.labels]


def perfect(features: Tensor, truth: np.ndarray, gamma: float) -> PatchFeatures:
    """Pool features (1, D, h, w) by the true labels (H, W), with the true objects."""
    crops = Crops(torch.zeros(1, 3, SIDE, SIDE), torch.from_numpy(truth)[None])
    grid = (features.shape[-2], features.shape[-1])
    targets = SegmentTeacher("truth").targets(crops, grid)
    pooled = pool_by_correlation(features, targets.features, gamma)
    return PatchFeatures(pooled, torch.where(targets.objects, 20.0, -20.0))


def score(
    model: MaskClip,
    scenes: Sequence[Scene],
    perfected: bool = False,
    learned: Learned | None = None,
) -> tuple[float, float]:
    """Mean IoU and mean boundary IoU of a model's labels, or of `perfect` heads for it."""
    prompts, names = PromptSet.from_names(WORDS), dict(enumerate(WORDS))
    segmenter = Segmenter(model, whole=True, refine="none", learned=learned)
    plain = Segmenter(MaskClip(model.clip), whole=True, refine="none")
    total = Counts()
    for scene in scenes:
        encoded = segmenter.encode(scene.image)
        if perfected:
            raw = plain.encode(scene.image).patches.features
            encoded = replace(encoded, patches=perfect(raw, shapes_of(scene), model.gamma))
        labels = encoded.segment(prompts).labels
        total.add(count_labels(labels, shapes_of(scene), (names, names), Band()))
    return tuple(float(np.mean(list(by.values()))) for by in (total.iou(), total.boundary_iou()))


def refit(
    model: ClipDinoiser, scenes: Sequence[Scene], teacher: str, settings: FitSettings
) -> tuple[DinoiserHeads, float, bool]:
    """Fit heads: these, the seconds it took, and whether they are better than the shipped.

    As by `dinoiser train`, the first images are kept back, or each in its turn where they are few.
    """
    images = Taught(scenes, teacher)
    numbers, kept_back = range(len(images)), KEPT_BACK if len(images) >= FOLDED else 0
    parts = Subset(images, numbers[kept_back:]), Subset(images, numbers[:kept_back])
    start = model.heads if teacher == "masks" else None
    loaded = load_teacher(teacher, model, "fp32")
    if loaded.similar is not None:
        settings = replace(settings, similar=loaded.similar)
    began = time.perf_counter()

    def make(data: FitData, folder: Path) -> Fit:
        return Fit(model, loaded, data, settings, folder, start=start)

    with tempfile.TemporaryDirectory() as folder:
        fit = JudgedFit(make, FitData(*parts, digest=teacher), Path(folder))
        result = fit.run()
        judgement = fit.judge(model.heads)
    return result.heads, time.perf_counter() - began, judgement.are_better


def measure(domain: str, seed: int, options: argparse.Namespace) -> dict[str, Row]:
    """Score all heads on one domain, or on usual scenes."""
    model = load_model("tiny", device="cpu", precision="fp32")
    assert isinstance(model, ClipDinoiser)
    learnt, tested = (
        list(draw_scenes(count, 7000 + 2 * seed + part, (SIDE, SIDE), **SCENES[domain]))
        for part, count in enumerate((options.images + KEPT_BACK, options.tested))
    )
    rows = {
        "none": Row(*score(MaskClip(model.clip), tested)),
        "perfect": Row(*score(model, tested, perfected=True)),
        "shipped": Row(*score(model, tested)),
    }
    settings = replace(
        SETTINGS, steps=options.steps, batch_size=options.batch, sample=options.images,
        gamma=model.gamma, seed=seed,
    )  # fmt: skip
    for teacher in options.teachers:
        heads, seconds, better = refit(model, learnt, teacher, settings)
        refitted = ClipDinoiser(model.clip, heads, model.gamma)
        rows[f"refit by {teacher}"] = Row(*score(refitted, tested), seconds, better)
    return rows


def main() -> None:
    """Print a table: a line for each domain and kind of heads, means over the seeds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=100, help="to learn from")
    parser.add_argument("--tested", type=int, default=40, help="scenes to score")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=8, help="crops per step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=SCENES)
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    options = parser.parse_args()
    describe_machine()
    print("| domain | heads | mIoU | boundary IoU | mIoU by seed | fit | better |")
    print("|---|---|---:|---:|---|---:|---:|")
    for domain in options.domains:
        by_seed = [measure(domain, seed, options) for seed in range(options.seeds)]
        for name in by_seed[0]:
            rows = [one[name] for one in by_seed]
            means = np.mean(rows, 0)
            single = ", ".join(f"{row.miou:.3f}" for row in rows)
            better = f"{sum(row.better for row in rows)} of {len(rows)}" if means[2] else "-"
            took = f"{means[2]:.0f} s" if means[2] else "-"
            figures = f"{means[0]:.3f} | {means[1]:.3f} | {single} | {took} | {better}"
            print(f"| {domain} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
