"""Everything that needs a GPU, in minutes and offline: make gpu.

Models are full-size with random weights. Prints a Markdown table for docs/about/performance.md.
On a machine without a GPU it says so and measures nothing.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from benchmarks.batch import WORDS, all_windows, draw_folder, run_bare, run_job
from benchmarks.forward import bare_tower, compare_forward
from benchmarks.setting import PROMPTS, describe_machine, random_image, random_model, seconds
from dinoiser.batch import LabelJob, Labelling, Results
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from dinoiser.segment.passes import Passes
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dinoiser.models.base import SegmentationModel

SIDE = 448
IMAGES = 800
FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
WITHOUT = "There is no CUDA GPU on this machine: nothing was measured."


class Row(NamedTuple):
    """A line of the table."""

    what: str
    found: str
    goal: str


def same_labels(model: SegmentationModel, reference: SegmentationModel) -> float:
    """Share of pixels to which two models give the same label, on images of several sizes."""
    shares = []
    for size in ((SIDE, SIDE), (768, 1024), (1536, 2048)):
        image = random_image(*size)
        first, second = (Segmenter(one).segment(image, PROMPTS) for one in (model, reference))
        shares.append(np.mean(first.labels == second.labels))
    return float(min(shares))


def same_masks(job: LabelJob, model: SegmentationModel, top: Path) -> bool:
    """Whether batches that are filled otherwise, as with other shards, give the same masks."""
    outputs = []
    for limit in (5, 48):
        output = top / f"limit-{limit}"
        output.mkdir(parents=True)
        run_job(replace(job, output=output, running=replace(job.running, limit=limit)), model)
        outputs.append(output)
    few, many = outputs
    return all(
        np.array_equal(read_mask(path), read_mask(many / "masks" / path.name))
        for path in (few / "masks").iterdir()
    )


def a_job(top: Path, images: int) -> LabelJob:
    """Draw a folder of images of one window each, and make a job of it."""
    return LabelJob(
        inputs=(draw_folder(top / "images", images, SIDE),),
        output=top / "out",
        labelling=Labelling(PromptSet.parse(WORDS)),
        results=Results(("png", "coco")),
    )


def whole_job(job: LabelJob, model: SegmentationModel) -> tuple[float, float]:
    """Images per second of a whole job, and the share of the bare tower's speed."""
    job.output.mkdir()
    windows = all_windows(job, model)
    batch = Passes().windows(model, (SIDE, SIDE))
    run_bare(model, windows[:batch], batch)
    bare = seconds(lambda: run_bare(model, windows, batch))
    taken = seconds(lambda: run_job(job, model))
    return len(windows) / taken, bare / taken


def measure(device: str, images: int = IMAGES) -> Iterator[Row]:
    """Measure on a device; yield the lines of the table as they are done."""
    reference = random_model(torch.float32)
    for name, dtype in FORMATS.items():
        model = random_model(dtype, device)
        ratio = compare_forward(model, bare_tower(model), Passes().windows(model, (SIDE, SIDE)))
        yield Row(f"image tower / open_clip's, {name}", f"{ratio:.2f}", "at most 1.00")
        share = same_labels(model, reference)
        yield Row(f"labels as on the CPU, {name}", f"{100 * share:.2f} %", "99.9 %")
        with tempfile.TemporaryDirectory() as temporary:
            top = Path(temporary)
            os.environ["DINOISER_CACHE"] = str(top / "cache")
            job = a_job(top, images)
            same = same_masks(job, model, top)
            yield Row(f"same masks, batches filled otherwise, {name}", str(same), "True")
            speed, share = whole_job(job, model)
        yield Row(f"job / bare tower, {name}", f"{share:.2f} ({speed:.0f} images/s)", "0.60")


def main() -> None:
    """Print the table, or that there is no GPU."""
    describe_machine()
    if not torch.cuda.is_available():
        print(WITHOUT)
        return
    rows = list(measure("cuda"))
    print(f"\n{torch.cuda.get_device_name()}\n\n| what | found | goal |\n|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.found} | {row.goal} |")


if __name__ == "__main__":
    main()
