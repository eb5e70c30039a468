"""What corrected images teach, against words alone: python -m benchmarks.learning.

Mean IoU on images that nobody has reviewed, against the number of those that were, means over three
seeds. The embedded model has no word for the colours of the first set.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.setting import describe_machine
from dinoiser import PromptSet, Segmenter, learn, load_model
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.scenes import draw_scene
from dinoiser.scenes.drawing import COLORS, OTHER_COLORS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dinoiser import Learned
    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.encoded_image import EncodedImage

SIZE = (224, 224)
COUNTS = (1, 2, 3, 5, 10, 20)
TESTED = 40
SEEDS = (1, 2, 3)


class Set(NamedTuple):
    """Scenes, the word of their names that is the class, and the words to label with.

    Of a rare set, one scene in ten has objects of the last colour. If the first class is shown, all
    corrected scenes have it: people correct where a mistake shows.
    """

    title: str
    colors: tuple[str, ...]
    hard: bool
    place: int
    words: tuple[str, ...]
    rare: bool = False
    shown: bool = False


SETS = (
    Set("colours without words", OTHER_COLORS, False, 0, OTHER_COLORS),
    Set("shapes", COLORS, False, 1, SHAPES),
    Set("shapes, hard scenes", COLORS, True, 1, SHAPES),
    Set("shapes, a wrong word", COLORS, False, 1, ("sky", *SHAPES[1:])),
    Set("shapes, a wrong word, where it shows", COLORS, False, 1, ("sky", *SHAPES[1:]), shown=True),
    Set("colours, hard scenes", COLORS, True, 0, COLORS),
    Set("colours without words, one of them rare", OTHER_COLORS, False, 0, OTHER_COLORS, True),
)

Image = tuple["EncodedImage", np.ndarray]


def main() -> None:
    """Print a table: a line for each set, a column for each number of reviewed images."""
    describe_machine()
    model = load_model("tiny", device="cpu", precision="fp32")
    print(f"| scenes | words | {' | '.join(map(str, COUNTS))} |")
    print("|---" * (2 + len(COUNTS)) + "|")
    for one in SETS:
        rows = np.array([_curve(model, one, seed) for seed in SEEDS])
        cells = " | ".join(f"{value:.3f}" for value in rows.mean(0))
        print(f"| {one.title} | {cells} | worst {(rows - rows[:, :1]).min():+.3f}")
    _print_time(model)


def _curve(model: SegmentationModel, one: Set, seed: int) -> list[float]:
    """Mean IoU by words alone, and after each number of reviewed images."""
    prompts = PromptSet.from_names(["background", *one.words])
    segmenter = Segmenter(model, refine="none")
    images = (_draw(segmenter, one, (seed, i)) for i in count())
    tested = list(islice(images, TESTED))
    useful = (image for image in images if not one.shown or 1 in image[1])
    reviewed = list(islice(useful, COUNTS[-1]))
    curve = [_mean_iou(tested, prompts, None)]
    for some in COUNTS:
        learned = learn(reviewed[:some], prompts, segmenter.pipeline)
        curve.append(_mean_iou(tested, prompts, learned) if learned.moves else curve[0])
    return curve


def _draw(
    segmenter: Segmenter, one: Set, seed: Sequence[int], size: tuple[int, int] = SIZE
) -> Image:
    colors = one.colors[:-1] if one.rare and seed[-1] % 10 else one.colors
    scene = draw_scene(np.random.default_rng(seed), size, hard=one.hard, colors=colors)
    kinds = one.colors if one.place == 0 else SHAPES
    numbers = [1 + kinds.index(name.split(" ", 1)[one.place]) for name in scene.names]
    return segmenter.encode(scene.image), np.array([0, *numbers], np.uint8)[scene.labels]


def _mean_iou(images: Sequence[Image], prompts: PromptSet, learned: Learned | None) -> float:
    matrix = ConfusionMatrix(list(prompts.names))
    for encoded, truth in images:
        pipeline = replace(encoded.pipeline, learned=learned)
        scores = pipeline.score(encoded.patches, prompts)
        found = pipeline.decide(encoded.image, encoded.layout, scores, prompts, encoded.colours)
        matrix.add(found.labels, truth)
    return float(np.nanmean(list(matrix.by_class().values())))


def _print_time(model: SegmentationModel) -> None:
    segmenter = Segmenter(model, refine="none")
    images = [_draw(segmenter, SETS[5], (9, i), (320, 448)) for i in range(20)]
    prompts = PromptSet.from_names(["background", *COLORS[:9]])
    start, busy = time.perf_counter(), time.process_time()
    learn([(e, np.minimum(mask, 9)) for e, mask in images], prompts, segmenter.pipeline)
    took = f"{time.perf_counter() - start:.1f} s, {time.process_time() - busy:.1f} s of CPU time"
    print(f"learning from 20 images of 448x320, 10 classes: {took}")


if __name__ == "__main__":
    main()
