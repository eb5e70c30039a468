"""Measure the embedded model: ``python -m training.tiny.evaluate --heads FILE``.

Four ways through the same patches, so that each head's share is seen: plain
MaskCLIP features, with the background filter, with pooling, and with both.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from dinoiser.models.catalog import find_model
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.load import load_model
from dinoiser.models.pooling import pool_by_correlation
from dinoiser.models.text import PhraseEmbeddings
from dinoiser.scenes import draw_scenes
from dinoiser.segment.background import apply_background
from dinoiser.segment.scoring import class_probabilities

from .patches import as_pixels, scene_phrases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from dinoiser.models.maskclip import MaskClip
    from dinoiser.scenes import Scene

logger = logging.getLogger(__name__)

METHODS = ("MaskCLIP", "+ background", "+ pooling", "full")
SETS = {
    "easy 224x224": ((224, 224), False),
    "easy 320x448": ((320, 448), False),
    "hard 224x224": ((224, 224), True),
    "hard 320x448": ((320, 448), True),
}


class MeanIou:
    """Mean over classes of intersection over union, both summed over all scenes.

    Classes that no scene shows are left out; what is predicted for them is missing elsewhere.
    """

    def __init__(self) -> None:
        self.intersections: Counter[str] = Counter()
        self.unions: Counter[str] = Counter()
        self.seen: set[str] = set()

    def add(self, names: list[str], truth: np.ndarray, predicted: np.ndarray) -> None:
        """Count one scene; label maps (H, W) hold indices into ``names``."""
        for label, name in enumerate(names):
            there, said = truth == label, predicted == label
            self.intersections[name] += int((there & said).sum())
            self.unions[name] += int((there | said).sum())
            if there.any():
                self.seen.add(name)

    def value(self) -> float:
        """Return the mean, in [0, 1]."""
        return float(np.mean([self.intersections[n] / self.unions[n] for n in self.seen]))


@torch.no_grad()
def label_maps(
    model: MaskClip, heads: DinoiserHeads, scene: Scene, embeddings: PhraseEmbeddings
) -> dict[str, np.ndarray]:
    """Label maps (H, W) of one scene, one for each of ``METHODS``."""
    patches = model.encode_patches(as_pixels(scene.image))
    objects, foreground = heads(patches.guide)
    pooled = pool_by_correlation(patches.features, objects, find_model("tiny").gamma)
    texts = embeddings.get(scene_phrases(scene))
    plain, guided = (class_probabilities(f, texts) for f in (patches.features, pooled))
    maps = (
        plain,
        apply_background(plain, foreground),
        guided,
        apply_background(guided, foreground),
    )
    return {name: _labels(m, scene) for name, m in zip(METHODS, maps, strict=True)}


def _labels(probabilities: Tensor, scene: Scene) -> np.ndarray:
    # Every size here is a multiple of the patch, so nothing was padded.
    large = F.interpolate(probabilities, scene.labels.shape, mode="bilinear", align_corners=False)
    return large[0].argmax(0).numpy()


def evaluate(
    model: MaskClip, heads: DinoiserHeads, scenes: Iterable[Scene], embeddings: PhraseEmbeddings
) -> dict[str, float]:
    """Mean intersection over union of each of ``METHODS`` over scenes."""
    scores = {method: MeanIou() for method in METHODS}
    for scene in scenes:
        names = scene_phrases(scene)
        for method, labels in label_maps(model, heads, scene, embeddings).items():
            scores[method].add(names, scene.labels, labels)
    return {method: score.value() for method, score in scores.items()}


def main() -> None:
    """Print the mean intersection over union on easy and hard scenes, as a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--heads", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1, help="the sets have this seed and the next")
    parser.add_argument("--count", type=int, default=100, help="scenes of each set")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(2)
    model = load_model("maskclip-tiny", device="cpu", precision="fp32")
    heads = DinoiserHeads.load(arguments.heads).eval()
    embeddings = PhraseEmbeddings(model)
    logger.info("| set | seed | %s |", " | ".join(METHODS))
    logger.info("|---|---|%s", "---|" * len(METHODS))
    for seed, (name, (size, hard)) in enumerate(SETS.items(), arguments.seed):
        scenes = draw_scenes(arguments.count, seed, size, hard)
        result = evaluate(model, heads, scenes, embeddings)
        figures = " | ".join(f"{100 * result[method]:.1f}" for method in METHODS)
        logger.info("| %s | %d | %s |", name, seed, figures)


if __name__ == "__main__":
    main()
