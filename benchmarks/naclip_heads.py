"""CLIP-DINOiser's heads on NACLIP's features, on hard scenes: python -m benchmarks.naclip_heads.

Drawn scenes are labelled as a whole, without refined edges, with the words of the scene, those that
are absent, and background. Mean IoU is over all classes that occur in the scenes of a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.evaluation.boundaries import Band
from dinoiser.evaluation.mask_scores import Counts, count_labels
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.naclip import NaClip
from dinoiser.scenes import draw_scenes

if TYPE_CHECKING:
    from dinoiser.models.base import SegmentationModel

SEEDS = (1, 2, 3)
SCENES = 20
SIZE = (224, 224)


class NaClipDinoiser(ClipDinoiser, NaClip):
    """The heads' pooling and filter over features whose patches attended to their neighbours."""


def miou(model: SegmentationModel, seed: int) -> float:
    """Mean IoU in [0, 1] over the scenes of a seed."""
    segmenter, total = Segmenter(model, whole=True, refine="none"), Counts()
    for scene in draw_scenes(SCENES, seed, SIZE, hard=True):
        names = dict(enumerate(("background", *scene.names, *scene.absent)))
        labels = segmenter.segment(scene.image, PromptSet.from_names(names.values())).labels
        total.add(count_labels(labels, scene.labels, (names, names), Band()))
    true = {name for name, _ in total.pairs}
    return sum(iou for name, iou in total.iou().items() if name in true) / len(true)


def main() -> None:
    """Print the table of mean IoU in percent, with and without heads."""
    tiny: Any = load_model("tiny", "cpu", "fp32")
    models: dict[str, SegmentationModel] = {
        "MaskCLIP alone": MaskClip(tiny.clip),
        "with heads (`tiny`)": tiny,
        "NACLIP alone": NaClip(tiny.clip),
        "with heads": NaClipDinoiser(tiny.clip, tiny.heads, tiny.gamma),
    }
    print("| | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |")
    print("|---" * (1 + len(SEEDS)) + "|")
    for name, model in models.items():
        figures = [f"{100 * miou(model, seed):.1f}" for seed in SEEDS]
        print(f"| {name} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
