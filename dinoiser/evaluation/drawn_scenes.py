"""Measure how well CLIP-DINOiser labels drawn scenes, step by step of the method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dinoiser.evaluation.metrics import ClassIoU
from dinoiser.models.base import PatchFeatures
from dinoiser.models.maskclip import MaskClip
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dinoiser.scenes import Scene

STEPS = ("MaskCLIP", "+ pooling", "+ background", "full")


@dataclass(frozen=True)
class SceneSet:
    """A fixed set of drawn scenes."""

    name: str
    seed: int
    size: tuple[int, int]
    hard: bool = False

    def draw(self, count: int = 100) -> Iterator[Scene]:
        """Draw the first scenes of the set; the same ones every time."""
        return draw_scenes(count, self.seed, self.size, self.hard)


SCENE_SETS = (
    SceneSet("easy 224x224", 20260, (224, 224)),
    SceneSet("easy 320x448", 20261, (320, 448)),
    SceneSet("hard 224x224", 20262, (224, 224), hard=True),
)


def mean_iou_by_step(model: MaskClip, scenes: Iterable[Scene]) -> dict[str, float]:
    """Mean IoU of plain MaskCLIP features, of each head alone, and of the full method.

    The classes to look for in a scene are the background, those present and
    those listed as absent. An image is segmented as a whole, at its own size.

    Parameters
    ----------
    model
        A model with heads; each step ignores the ones it does not use.
    scenes
        From `dinoiser.scenes.draw_scenes`.

    Returns
    -------
    dict
        Mean IoU in [0, 1] for each of `STEPS`, over all classes that occur in
        the scenes, including the background.
    """
    segmenter = Segmenter(model, whole=True)
    without_heads = Segmenter(MaskClip(model.clip), whole=True)
    counts = {step: ClassIoU() for step in STEPS}
    for scene in scenes:
        encoded = segmenter.encode(scene.image)
        plain, full = without_heads.encode(scene.image).patches.features, encoded.patches
        patches = (
            PatchFeatures(plain, None),
            PatchFeatures(full.features, None),
            PatchFeatures(plain, full.foreground),
            full,
        )
        names = ("background", *scene.names, *scene.absent)
        prompts = PromptSet.from_names(names)
        for step, features in zip(STEPS, patches, strict=True):
            result = replace(encoded, patches=features).segment(prompts)
            counts[step].add(result.labels, scene.labels, names)
    return {step: count.mean() for step, count in counts.items()}
