"""Measure how well CLIP-DINOiser labels drawn scenes, step by step of the method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from dinoiser.evaluation.boundaries import Band
from dinoiser.evaluation.mask_scores import Counts, count_labels
from dinoiser.models.base import PatchFeatures
from dinoiser.models.maskclip import MaskClip
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dinoiser.scenes import Scene

STEPS = ("MaskCLIP", "+ pooling", "+ background", "full", "+ edges")


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


class StepScore(NamedTuple):
    """Scores over all classes that occur in the scenes, the background included.

    Attributes
    ----------
    miou
        Mean IoU in [0, 1].
    boundary
        Mean boundary IoU in [0, 1], see `Band`.
    """

    miou: float
    boundary: float


def score_by_step(model: MaskClip, scenes: Iterable[Scene]) -> dict[str, StepScore]:
    """Score plain MaskCLIP features, each head alone, the full method, and refined edges.

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
        The scores of each of `STEPS`.
    """
    plain, refined = (Segmenter(model, whole=True, refine=how) for how in ("none", "edges"))
    without_heads = Segmenter(MaskClip(model.clip), whole=True)
    totals = {step: Counts() for step in STEPS}
    for scene in scenes:
        encoded = plain.encode(scene.image)
        raw, full = without_heads.encode(scene.image).patches.features, encoded.patches
        names = dict(enumerate(("background", *scene.names, *scene.absent)))
        prompts = PromptSet.from_names(names.values())
        results = {
            "MaskCLIP": replace(encoded, patches=PatchFeatures(raw, None)),
            "+ pooling": replace(encoded, patches=PatchFeatures(full.features, None)),
            "+ background": replace(encoded, patches=PatchFeatures(raw, full.foreground)),
            "full": encoded,
            "+ edges": refined.encode(scene.image),
        }
        for step, result in results.items():
            labels = result.segment(prompts).labels
            totals[step].add(count_labels(labels, scene.labels, (names, names), Band()))
    return {step: _score(counts) for step, counts in totals.items()}


def _score(counts: Counts) -> StepScore:
    true = {name for name, _ in counts.pairs}
    means = (
        sum(iou for name, iou in by_class.items() if name in true) / len(true)
        for by_class in (counts.iou(), counts.boundary_iou())
    )
    return StepScore(*means)
