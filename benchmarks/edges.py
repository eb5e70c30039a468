"""Refined edges against none, superpixels and PAMR: python -m benchmarks.edges.

Drawn scenes are labelled by the embedded model as a whole, with the words of the scene, five that
are absent, and background. For each image, the IoU of its classes is averaged; boundary IoU is that
of the pixels at most 4 steps from another class, of all classes together. The first set is the one
that the settings were chosen on; the others are not.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from skimage import data
from skimage.segmentation import slic

from benchmarks.setting import PROMPTS, describe_machine, random_model
from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.scenes import draw_scenes
from dinoiser.segment.probability_map import ProbabilityMap, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.encoded_image import EncodedImage
    from dinoiser.segment.pipeline import Pipeline

SETS = (
    ("chosen on", 4711, (320, 448)),
    *(("unseen", seed, (320, 448)) for seed in (8101, 8102, 8103)),
    *(("unseen", seed, (224, 224)) for seed in (8201, 8202, 8203)),
)
SCENES = 16
BAND = 4
WAYS = ("none", "superpixels", "pamr", "edges")


class Quality(NamedTuple):
    """Means over the images of a set, and the pixels of each class."""

    miou: float
    boundary: float
    classes: dict[str, float]
    area: float


def main() -> None:
    """Print the tables of quality and of time."""
    describe_machine()
    model = load_model("tiny")
    print("| scenes | seed | size | " + " | ".join(WAYS) + " | worst class |")
    print("|---" * (4 + len(WAYS)) + "|")
    for name, seed, size in SETS:
        for hard in (False, True):
            found = {way: _quality(model, way, seed, size, hard) for way in WAYS}
            worst = min(found["edges"].classes[c] - iou for c, iou in found["none"].classes.items())
            cells = [f"{quality.miou:.3f} / {quality.boundary:.3f}" for quality in found.values()]
            kind = f"{'hard' if hard else 'easy'}, {name}"
            print(f"| {kind} | {seed} | {size[0]}x{size[1]} | {' | '.join(cells)} | {worst:+.3f} |")
    _print_area(model)
    _print_times()


# -- Quality


def _label(
    model: SegmentationModel, way: str, image: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    prompts = PromptSet.from_names(names)
    if way != "superpixels":
        return Segmenter(model, whole=True, refine=way).segment(image, prompts).labels
    result = Segmenter(model, whole=True, refine="none").segment(image, prompts)
    segments = slic(image, n_segments=image[..., 0].size // 16, start_label=0, channel_axis=-1)
    means = [
        ndimage.mean(result.probabilities(name), segments, np.arange(segments.max() + 1))
        for name in names
    ]
    return np.argmax(means, 0)[segments]


def _quality(
    model: SegmentationModel, way: str, seed: int, size: tuple[int, int], hard: bool
) -> Quality:
    ious, boundaries = [], []
    hits: Counter[str] = Counter()
    unions: Counter[str] = Counter()
    found_area = true_area = 0
    for scene in draw_scenes(SCENES, seed, size, hard):
        names = ("background", *scene.names, *scene.absent)
        labels = _label(model, way, scene.image, names)
        present = [i for i in range(len(names)) if (scene.labels == i).any()]
        pairs = [(labels == i, scene.labels == i) for i in present]
        counts = [((a & b).sum(), (a | b).sum()) for a, b in pairs]
        for i, (hit, union) in zip(present, counts, strict=True):
            hits[names[i]] += hit
            unions[names[i]] += union
            if i and hit > union / 2:  # an object that was found
                found_area += (labels == i).sum()
                true_area += (scene.labels == i).sum()
        ious.append(np.mean([hit / union for hit, union in counts]))
        bands = [(_band(a), _band(b)) for a, b in pairs]
        boundaries.append(
            sum((a & b).sum() for a, b in bands) / sum((a | b).sum() for a, b in bands)
        )
    by_class = {name: hits[name] / unions[name] for name in unions}
    area = found_area / true_area - 1
    return Quality(float(np.mean(ious)), float(np.mean(boundaries)), by_class, area)


def _band(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, iterations=BAND, border_value=1)


def _print_area(model: SegmentationModel) -> None:
    for hard in (False, True):
        areas = [_quality(model, "edges", seed, size, hard).area for _, seed, size in SETS]
        kind = "hard" if hard else "easy"
        print(f"area of the objects that were found, {kind}: {100 * np.mean(areas):+.1f} % of true")


# -- Time


def _cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one call, the best of three."""
    work()
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def _with_regions(encoded: EncodedImage, classes: int) -> ProbabilityMap:
    """Make a map in which all classes have regions; random weights find hardly any."""
    layout = encoded.layout
    generator = torch.Generator().manual_seed(0)
    windows, _, height, width = encoded.patches.features.shape
    coarse = torch.randn(windows, classes, height // 8, width // 8, generator=generator) * 9
    scores = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").softmax(1)
    return ProbabilityMap.from_windows(scores, layout)


def _label_map(pipeline: Pipeline, encoded: EncodedImage, regions: ProbabilityMap) -> None:
    colours = encoded.colours if pipeline.refine == "edges" else None
    refined = pipeline.refined(regions, encoded.image, colours)
    pipeline.label(refined, PROMPTS, Tile.whole(encoded.layout.size))


def _time(model: SegmentationModel, image: np.ndarray, title: str) -> None:
    segmenter = Segmenter(model)
    encoded = segmenter.encode(image)
    tower = _cpu(lambda: segmenter.encode(image))
    regions, times = _with_regions(encoded, len(PROMPTS.classes)), {}
    for way in ("none", "edges") if image.size > 10**7 else ("none", "edges", "pamr"):
        pipeline = replace(segmenter.pipeline, refine=way)
        times[way] = _cpu(partial(_label_map, pipeline, encoded, regions))
    print(f"{title}: encode {tower:.2f} s of CPU, probabilities to labels:")
    for way, seconds in times.items():
        more = seconds - times["none"]
        print(f"  {way}: {seconds:.3f} s, {more:+.3f} s, {more / tower:.3f} of encode")


def _print_times() -> None:
    photo = Image.fromarray(data.astronaut())
    _time(random_model(), np.array(photo.resize((1024, 768))), "ViT-B/16, 1024x768, 20 classes")
    _time(load_model("tiny"), np.array(photo.resize((6000, 4000))), "tiny, 24 megapixels")


if __name__ == "__main__":
    main()
