"""Work beside the image tower, by stage: python -m benchmarks.host.

Processor time of one thread in ms for an image, from its file to mask, preview and record, and
digests of mask and record, and of the preview. To compare with another checkout, give it first in
turn: `PYTHONPATH=OTHER python benchmarks/host.py`.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from skimage import data

from dinoiser.export import write_overlay, write_png
from dinoiser.images import read_image
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.segmentation import Segmentation

PROMPTS = PromptSet.parse(
    "background, sky, grass, tree, water, road, building, person, dog, cat, horse, red circle, "
    "blue star, green square, yellow triangle"
)
SIZES = (2048, 1536), (6000, 4000)
ROUNDS = 5


class Clock:
    """Least processor time of each stage over all rounds, in ms."""

    def __init__(self) -> None:
        self.times: dict[str, float] = defaultdict(lambda: float("inf"))

    def __call__(self, stage: str, work: Callable[[], Any]) -> Any:
        """Time a stage; return what it gives."""
        start = time.process_time()
        found = work()
        self.times[stage] = min(self.times[stage], 1e3 * (time.process_time() - start))
        return found


def measure(clock: Clock, pipeline: Pipeline, path: Path, folder: Path) -> str:
    """Label an image stage by stage; return the digests of what is written."""
    image = clock("decoding", lambda: read_image(path))
    layout = pipeline.plan(image.shape[:2])
    blocks = clock("resizing", lambda: pipeline.blocks(image, layout))
    scores = torch.cat(pipeline.score_blocks(blocks, PROMPTS))  # the tower
    colours = pipeline.colours(blocks)
    result: Segmentation = clock(
        "labels", lambda: pipeline.decide(image, layout, scores, PROMPTS, colours)
    )
    clock("mask", lambda: write_png(result, folder / "mask.png"))
    clock("preview", lambda: write_overlay(image, result, folder / "overlay.jpg"))
    counts = clock("counts", lambda: (result.pixel_counts(), result.confidence_histogram()))
    found = hashlib.sha256(repr((counts, result.mean_confidence())).encode())
    found.update((folder / "mask.png").read_bytes())
    preview = hashlib.sha256((folder / "overlay.jpg").read_bytes())
    return f"{found.hexdigest()[:12]}, preview {preview.hexdigest()[:12]}"


def main() -> None:
    """Print a table with a line for each image and refinement."""
    torch.set_num_threads(1)
    model = load_model("tiny", precision="fp32")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            photograph = Image.fromarray(data.coffee()).resize(size, Image.Resampling.BICUBIC)
            photograph.save(folder / "a.jpg", quality=92)
            for refine in ("none", "edges"):
                settings = SegmentSettings(refine=refine)
                pipeline = Pipeline.build(model, settings, one_thread=True)
                clock = Clock()
                for _ in range(ROUNDS):
                    digest = measure(clock, pipeline, folder / "a.jpg", folder)
                stages = ", ".join(f"{stage} {ms:.0f}" for stage, ms in clock.times.items())
                total = sum(clock.times.values())
                print(f"{size[0]}x{size[1]}, {refine}: {stages}; all {total:.0f} ms; {digest}")


if __name__ == "__main__":
    main()
