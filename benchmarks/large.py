"""Time and peak memory of labelling TIFF files in parts: python -m benchmarks.large.

`python -m benchmarks.large 50000` labels an image of 50,000 x 50,000 pixels at the model's own
window sizes; `python -m benchmarks.large 8000 8000` labels one of 8,000 x 8,000 at a short side of
8,000, that is, without resizing. Files are written to the temporary folder and removed at the end.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from benchmarks.memory import MB, peak, reset_peak
from benchmarks.setting import describe_machine, seconds
from dinoiser.batch.large_images import label_large_tiff
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterator

TILE = 512
PROMPTS = PromptSet.parse("background, red star, blue circle, green triangle, yellow square")


def write_image(path: Path, side: int) -> None:
    """Write a tiled, compressed TIFF of drawn scenes, side x side pixels, tile by tile."""
    rng = np.random.default_rng(0)
    scenes = [draw_scene(rng, (TILE, TILE)).image for _ in range(8)]
    count = -(-side // TILE)

    def tiles() -> Iterator[np.ndarray]:
        for i in range(count * count):
            yield scenes[rng.integers(len(scenes))] if i % 7 else scenes[i % len(scenes)]

    options = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "rgb", "bigtiff": True}
    tifffile.imwrite(path, tiles(), shape=(side, side, 3), dtype=np.uint8, **options)


def measure(folder: Path, short_side: int | None, answer) -> None:
    """Send the seconds, and the peak memory before and after labelling the image."""
    model = load_model("tiny", device="cpu")
    Segmenter(model).segment(np.zeros((224, 224, 3), np.uint8), PROMPTS)
    pipeline = Segmenter(model, short_side=short_side).pipeline
    reset_peak()
    before = peak()
    arguments = (folder / "image.tif", PROMPTS, pipeline, folder / "mask.png")
    taken = seconds(lambda: label_large_tiff(*arguments))
    answer.put((taken, before, peak()))


def run(side: int, short_side: int | None) -> None:
    """Label one image in a new process, and print its time and memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_image(folder / "image.tif", side)
        context = multiprocessing.get_context("spawn")
        answer = context.SimpleQueue()
        process = context.Process(target=measure, args=(folder, short_side, answer))
        process.start()
        process.join()
        taken, before, highest = answer.get()
        size, mask = ((folder / file).stat().st_size for file in ("image.tif", "mask.png"))
    windows = f"short side {short_side}" if short_side else "the model's window sizes"
    print(
        f"{side} x {side}, {windows}: {taken:.0f} s, {highest / MB:.0f} MB in all, "
        f"{(highest - before) / MB:.0f} MB above the loaded model; "
        f"pixels {3 * side**2 / MB:.0f} MB, file {size / MB:.0f} MB, mask {mask / MB:.0f} MB"
    )


def main() -> None:
    """Label one image, or a small and a larger one."""
    describe_machine()
    sizes = [int(argument) for argument in sys.argv[1:]]
    if sizes:
        run(sizes[0], sizes[1] if len(sizes) > 1 else None)
        return
    for side in (5_000, 10_000):
        run(side, None)


if __name__ == "__main__":
    main()
