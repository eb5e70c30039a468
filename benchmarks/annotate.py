"""How much a person must do until masks are right: python -m benchmarks.annotate.

A scripted reviewer corrects the labels of drawn scenes until their mean IoU is 0.95. At each step
it does what repairs most pixels, as a person would who sees them all:

- part: gives a connected part of the present labels another class (the bucket);
- object: gives the object under the pointer a class (one key), seeing its outline before;
- brush: paints what is wrong within 32 pixels of a place, where that is wider than 4 pixels.

Each is one action. The words are the scene's classes, absent ones up to ten, and background.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from benchmarks.setting import describe_machine
from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.scenes import draw_scenes
from dinoiser.scenes.drawing import COLORS, SHAPES
from dinoiser.segment.objects import object_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dinoiser.scenes import Scene
    from dinoiser.segment.encoded_image import EncodedImage

SCENES = 20
SIZE = (480, 640)
SEED = 2024
CLASSES = 10
WANTED = 0.95
THIN = 4
STROKE = 32
MOST = 60
WAYS = (
    ("none", ("part", "brush")),
    ("none", ("part", "brush", "object")),
    ("edges", ("part", "brush")),
    ("edges", ("part", "brush", "object")),
)
"""Refinement of edges, and what the reviewer may do; the first is the baseline."""


class Action(NamedTuple):
    """What can be done, the pixels that it changes and their class."""

    name: str
    where: np.ndarray
    label: int

    def gain(self, labels: np.ndarray, truth: np.ndarray) -> int:
        """Count the pixels that become right, less those that become wrong."""
        before, now = labels[self.where], truth[self.where]
        return int((now == self.label).sum()) - int((now == before).sum())


def main() -> None:
    """Print actions and painted pixels of a mask, means over the scenes."""
    describe_machine()
    model = load_model("tiny")
    print("| scenes | edges | means | actions | of the baseline | painted pixels | which |")
    print("|---|---|---|---|---|---|---|")
    for hard in (False, True):
        scenes = list(draw_scenes(SCENES, SEED, SIZE, hard=hard))
        baseline = None
        for refine, means in WAYS:
            segmenter = Segmenter(model, refine=refine)
            done = [list(_review(segmenter, scene, means)) for scene in scenes]
            actions = float(np.mean([len(one) for one in done]))
            painted = np.mean(
                [sum(a.where.sum() for a in one if a.name == "brush") for one in done]
            )
            which = Counter(action.name for one in done for action in one)
            baseline = baseline or actions
            shares = ", ".join(f"{name} {which[name] / len(done):.1f}" for name in means)
            print(
                f"| {'hard' if hard else 'easy'} | {refine} | {', '.join(means)} | {actions:.1f} "
                f"| {actions / baseline:.2f} | {painted:.0f} | {shares} |"
            )


def _review(segmenter: Segmenter, scene: Scene, means: Sequence[str]) -> Iterator[Action]:
    """Correct a scene's labels, action by action."""
    others = (f"{color} {shape}" for shape in SHAPES for color in COLORS)
    absent = [name for name in others if name not in scene.names][:: len(COLORS) // 2 + 1]
    names = ["background", *scene.names, *scene.absent, *absent]
    names = list(dict.fromkeys(names))[:CLASSES]
    encoded = segmenter.encode(scene.image)
    labels = encoded.segment(PromptSet.from_names(names)).labels.copy()
    for _ in range(MOST):
        if _mean_iou(labels, scene.labels, names) >= WANTED:
            return
        possible = list(_possible(encoded, labels, scene.labels, means))
        if not possible:
            return
        best = max(possible, key=lambda action: action.gain(labels, scene.labels))
        labels[best.where] = best.label
        yield best


def _possible(
    encoded: EncodedImage, labels: np.ndarray, truth: np.ndarray, means: Sequence[str]
) -> Iterator[Action]:
    """Yield what could be done about the places that are wrong."""
    wrong = labels != truth
    wide = ndimage.binary_opening(wrong, iterations=THIN // 2)
    for label in np.unique(truth[wrong]):
        places = wrong & (truth == label)
        parts, count = ndimage.label(places)
        for number in range(1, count + 1):
            part = parts == number
            if not (part & wide).any():
                continue  # a thin border
            inner = np.unravel_index(ndimage.distance_transform_edt(part).argmax(), part.shape)
            row, column = map(int, inner)
            if "object" in means:
                yield Action("object", object_at(encoded, row, column), label)
            if "part" in means:
                blobs, _ = ndimage.label(labels == labels[row, column])
                yield Action("part", blobs == blobs[row, column], label)
            yield Action("brush", part & _disc(part.shape, row, column), label)


def _disc(size: tuple[int, ...], row: int, column: int) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= STROKE**2


def _mean_iou(labels: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> float:
    matrix = ConfusionMatrix(names)
    matrix.add(labels, truth)
    ious = matrix.by_class()
    return float(np.mean([ious[names[label]] for label in np.unique(truth)]))


if __name__ == "__main__":
    main()
