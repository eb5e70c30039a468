"""Touching objects told apart, against connected parts: python -m benchmarks.instances."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.setting import seconds
from dinoiser.export.regions import map_parts
from dinoiser.export.split import split_parts
from dinoiser.scenes.drawing import OUTLINES

SIZE = (320, 448)
SCENES = 40
SEED = 5
SPLITS = (0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


def main() -> None:
    """Print panoptic quality and the number of objects for several values of `--split`."""
    scenes = [draw_objects(np.random.default_rng((SEED, i))) for i in range(SCENES)]
    print(f"{SCENES} drawings of {SIZE[0]}x{SIZE[1]}, {sum(s.max() for s in scenes)} objects")
    for split in SPLITS:
        found = [split_parts(map_parts((s > 0).astype(np.uint8)), split) for s in scenes]
        quality = np.mean([panoptic_quality(*pair) for pair in zip(found, scenes, strict=True)])
        name = "connected parts" if split == 0 else f"--split {split}"
        print(f"{name}: panoptic quality {quality:.3f}, {sum(f.max() for f in found)} objects")
    large = np.kron(scenes[0] > 0, np.ones((12, 12), np.uint8)).astype(np.uint8)
    took = seconds(lambda: split_parts(map_parts(large), 0.7))
    print(f"{large.shape[1]}x{large.shape[0]}: {took:.2f} s")


def draw_objects(rng: np.random.Generator) -> np.ndarray:
    """Draw some chains of up to three shapes of a kind that touch, (H, W) int32 from 1."""
    objects = np.zeros(SIZE, np.int32)
    for _ in range(rng.integers(2, 5)):
        # rings are left out: their holes make them no bodies
        kind = rng.choice([name for name in OUTLINES if name != "ring"])
        x, y = rng.uniform(60, SIZE[1] - 60), rng.uniform(60, SIZE[0] - 60)
        for _ in range(rng.integers(1, 4)):
            radius, turn = rng.uniform(18, 38), rng.uniform(0, 2 * np.pi)
            corners, tilt = OUTLINES[kind]
            angle = rng.uniform(-tilt, tilt)
            cos, sin = np.cos(angle), np.sin(angle)
            places = corners @ np.array([[cos, sin], [-sin, cos]]) * radius + (x, y)
            drawn = Image.new("1", SIZE[::-1])
            ImageDraw.Draw(drawn).polygon([tuple(place) for place in places], 1)
            new = np.array(drawn) & (objects == 0)
            if new.sum() > 300:
                objects[new] = objects.max() + 1
            x, y = x + 1.7 * radius * np.cos(turn), y + 1.7 * radius * np.sin(turn)
    return objects


def panoptic_quality(found: np.ndarray, true: np.ndarray) -> float:
    """Panoptic quality (Kirillov et al., 2019) of one class in one image."""
    matched, quality = 0, 0.0
    for number in np.unique(true[true > 0]):
        wanted = true == number
        for candidate in np.unique(found[wanted]):
            shape = found == candidate
            iou = (shape & wanted).sum() / (shape | wanted).sum()
            if candidate and iou > 0.5:
                matched, quality = matched + 1, quality + iou
    missed = len(np.unique(true[true > 0])) - matched
    wrong = len(np.unique(found[found > 0])) - matched
    return float(quality / (matched + missed / 2 + wrong / 2))


if __name__ == "__main__":
    main()
