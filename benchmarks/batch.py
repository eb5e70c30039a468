"""Whole jobs against the bare image tower: python -m benchmarks.batch.

A job runs from JPEG files to PNG masks and COCO annotations in this process. It is
compared with `encode_image` on the same windows in memory, in batches that suit the
device and one by one. A job also decodes, scores, interpolates, encodes and writes; it
should reach 0.90 of the bare tower's speed on two CPU cores, and 0.60 on a GPU. A job
without the tower shows how fast a GPU could be before the rest becomes the limit. Jobs on
photographs run as they do by default.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from benchmarks.forward import bare_tower
from benchmarks.setting import describe_machine, random_model, seconds
from dinoiser.batch import LabelJob, Labelling, Results, Running, export, run
from dinoiser.batch.engines.labeller import Labeller
from dinoiser.batch.job import dtype_name
from dinoiser.batch.job_images import find_job_images
from dinoiser.batch.records import RecordFile
from dinoiser.export import write_png
from dinoiser.images import read_image
from dinoiser.models.base import PatchFeatures
from dinoiser.models.catalog import find_model
from dinoiser.models.device import resolve_precision
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.passes import Passes
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.models.base import SegmentationModel

WORDS = "background, red circle, blue star, green square, yellow triangle, grass"
ROUNDS = 2
PHOTOGRAPHS_ROUNDS = 3
BARE_PHOTOGRAPHS = 12
"""How many the bare towers are timed on; the photographs of a job repeat four."""
PARTS = "tiny", "full", "photographs", "full-photographs", "memory"


class Towerless:
    """A model whose image tower costs nothing: it returns the same features for all windows."""

    def __init__(self, model: SegmentationModel, side: int) -> None:
        self._model = model
        self._patches = model.encode_image(torch.rand(1, 3, side, side, device=model.device))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode_image(self, pixels: Tensor) -> PatchFeatures:
        """Return the same features for each of pixels (B, 3, side, side)."""
        return PatchFeatures.cat([self._patches] * len(pixels))


def draw_folder(folder: Path, images: int, side: int) -> Path:
    """Write JPEG files of drawn scenes, each the size of one window."""
    folder.mkdir(parents=True)
    scenes = list(draw_scenes(min(images, 40), 7, (side, side)))
    for i in range(images):
        Image.fromarray(scenes[i % 40].image).save(folder / f"{i:05}.jpg", quality=92)
    return folder


def run_job(job: LabelJob, model: SegmentationModel) -> None:
    """Label a folder from the first file to the last annotation."""
    labeller = Labeller(job, model, RecordFile(job.output))
    job.prompts.save(job.output / "prompts.yaml")
    assert all(record.status == "done" for record in labeller.label(find_job_images(job)))
    export(job.output, job.results.formats)


def run_bare(model: SegmentationModel, windows: Tensor, batch: int) -> None:
    """Run only the image tower."""
    for some in windows.split(batch):
        features = model.encode_image(some.to(model.device)).features
    features.flatten()[0].item()  # waits for a device


@torch.no_grad()
def run_open_clip(tower: torch.nn.Module, windows: Tensor, batch: int) -> None:
    """Run only open_clip's image tower, up to the image embedding."""
    for some in windows.split(batch):
        tower(some)


def run_one_by_one(job: LabelJob, model: SegmentationModel) -> None:
    """Work like the published code: one image at a time, window by window."""
    segmenter = Segmenter(model, batch_size=1)
    for image in find_job_images(job):
        result = segmenter.segment(read_image(image.path), job.prompts)
        write_png(result, job.output / "masks" / f"{image.stem}.png")


def all_windows(job: LabelJob, model: SegmentationModel) -> Tensor:
    """Cut all images into windows, (n, 3, h, w) float32 in [0, 1]."""
    pipeline = Segmenter(model).pipeline
    pieces = []
    for job_image in find_job_images(job):
        image = read_image(job_image.path)
        layout = pipeline.plan(image.shape[:2])
        pieces += [window for block in pipeline.blocks(image, layout) for window in block.cut()]
    return torch.stack(pieces).float() / 255


def compare(
    name: str, model: SegmentationModel, plain: SegmentationModel, images: int, side: int
) -> None:
    """Print a job's speed relative to the bare tower and to the published way.

    Parameters
    ----------
    name
        Name in the output.
    model, plain
        The model as jobs use it, and in float32.
    images, side
        Number of images, and their sides in pixels.
    """
    with tempfile.TemporaryDirectory() as temporary:
        top, runs = Path(temporary), count()
        # so that words are embedded once, in the warm-up
        os.environ["DINOISER_CACHE"] = str(top / "cache")
        job = LabelJob(
            inputs=(draw_folder(top / "images", images, side),),
            output=top,
            labelling=Labelling(PromptSet.parse(WORDS)),
            results=Results(("png", "coco")),
        )

        def fresh() -> LabelJob:
            output = top / str(next(runs))
            output.mkdir()
            return replace(job, output=output)

        windows = all_windows(job, model)
        batch = Passes().windows(model, (side, side))
        towerless: Any = Towerless(model, side)
        works = {
            "job": lambda: run_job(fresh(), model),
            "job without tower": lambda: run_job(fresh(), towerless),
            f"bare, batches of {batch}": lambda: run_bare(model, windows, batch),
            "bare, one by one": lambda: run_bare(model, windows, 1),
            "published way, float32": lambda: run_one_by_one(fresh(), plain),
        }
        for work in works.values():
            work()
        times = [{key: seconds(work) for key, work in works.items()} for _ in range(ROUNDS)]
    for key in works:
        median = statistics.median(one[key] for one in times)
        ratio = statistics.median(one[key] / one["job"] for one in times)
        speed = images / median
        print(f"{name}: {key}: {speed:.1f} images/s; the job is {ratio:.2f} times as fast")


def draw_photographs(folder: Path, images: int, size: tuple[int, int]) -> Path:
    """Write JPEG files of (width, height) pixels, made from the photographs of scikit-image."""
    folder.mkdir(parents=True)
    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    for i, photograph in enumerate(photographs):
        large = Image.fromarray(photograph).resize(size, Image.Resampling.BICUBIC)
        large.save(folder / f"{i:05}.jpg", quality=92)
    for i in range(len(photographs), images):
        shutil.copy(folder / f"{i % len(photographs):05}.jpg", folder / f"{i:05}.jpg")
    return folder


def save_random_model(cache: Path) -> Path:
    """Put a full-size model with random weights where those of clip-dinoiser are put by hand.

    So the workers of a cluster load it by name. Returns the file of its heads.
    """
    os.environ["DINOISER_CACHE"] = str(cache)
    file = find_model("clip-dinoiser").clip
    assert file is not None
    model, place, heads = random_model(), file.place(), cache / "heads.safetensors"
    place.parent.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in model.clip.state_dict().items()}, place)
    model.heads.save(heads)
    return heads


def compare_shipped(labelling: Labelling, images: int, size: tuple[int, int]) -> None:
    """Print the speed of the whole job on photographs, as it is run by default.

    That is in shards, on a cluster on this machine, with masks, previews and
    COCO. The towers are timed before and after each job, as the machine's speed
    changes.
    """
    name, precision = labelling.model, labelling.precision
    model = load_model(name, "cpu", precision, heads=labelling.heads)
    side = model.windows.window
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        job = LabelJob(
            inputs=(draw_photographs(top / "images", images, size),),
            output=top,
            labelling=labelling,
            results=Results(("png", "overlay", "coco")),
            running=Running("cpu", "local"),
        )
        few = replace(job, inputs=(draw_photographs(top / "few", BARE_PHOTOGRAPHS, size),))
        windows = all_windows(few, model)
        batch = Passes().windows(model, (side, side))
        theirs = bare_tower(model)
        towers = {
            "our tower": lambda: run_bare(model, windows, batch),
            "open_clip's": lambda: run_open_clip(theirs, windows.to(model.dtype), batch),
        }
        for work in towers.values():
            work()
        bare = [[BARE_PHOTOGRAPHS / seconds(work) for work in towers.values()]]
        speeds = []
        for turn in range(PHOTOGRAPHS_ROUNDS):
            speeds.append(images_per_second(replace(job, output=top / str(turn))))
            bare.append([BARE_PHOTOGRAPHS / seconds(work) for work in towers.values()])
    shares = np.divide(speeds, np.add(bare[1:], bare[:-1]).T / 2)  # towers, rounds
    print(
        f"{name}, {dtype_name(model)}, {size[0]}x{size[1]}, png,overlay,coco, scheduler local: "
        f"{statistics.median(speeds):.2f} images/s, "
        + "; ".join(
            f"{np.median(found):.2f} of {tower} alone ({found.min():.2f} to {found.max():.2f})"
            for tower, found in zip(towers, shares, strict=True)
        )
    )


def images_per_second(job: LabelJob) -> float:
    """Run a job; return the slope of the images that are done over time.

    Starting takes the same time however many images there are, and they come in
    groups.
    """
    times: list[float] = []
    run(job, progress=lambda step: times.append(time.perf_counter()) if step.record else None)
    return float(np.polyfit(times, np.arange(len(times)), 1)[0])


def compare_shipped_full(precision: str) -> None:
    """Compare jobs on photographs with a full-size model, see `compare_shipped`."""
    with tempfile.TemporaryDirectory() as temporary:
        heads = save_random_model(Path(temporary) / "cache")
        labelling = Labelling(PromptSet.parse(WORDS), "clip-dinoiser", precision, heads)
        compare_shipped(labelling, 30, (2048, 1536))
        compare_shipped(labelling, 40, (6000, 4000))


def peak_memory(images: int) -> float:
    """Measure the peak resident memory of a job in a separate process, in MB."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = draw_folder(Path(temporary) / "images", images, 224)
        code = (
            "import sys; from pathlib import Path; from benchmarks.memory import MB, peak; "
            "from dinoiser.batch import Labelling, LabelJob, Results, Running, run; "
            "from dinoiser.prompts import PromptSet; "
            "job = LabelJob((sys.argv[1],), Path(sys.argv[2]), "
            "Labelling(PromptSet.parse(sys.argv[3]), 'tiny'), "
            "Results(('png', 'overlay', 'coco')), Running('cpu', 'sync')); run(job); "
            "print(peak() / MB)"
        )
        arguments = [sys.executable, "-c", code, str(folder), f"{temporary}/out", WORDS]
        return float(subprocess.run(arguments, check=True, capture_output=True).stdout)


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", choices=PARTS)
    only = parser.parse_args().only
    describe_machine()
    if only in (None, "tiny"):
        plain = load_model("tiny", precision="fp32")
        compare("tiny", load_model("tiny"), plain, 200, 224)
        compare("tiny, float32", plain, plain, 200, 224)
    if only in (None, "full"):
        cuda = torch.cuda.is_available()
        device = "cuda" if cuda else "cpu"
        fast, plain = (random_model(dtype, device) for dtype in (torch.bfloat16, torch.float32))
        compare("ViT-B/16, bfloat16", fast, plain, 800 if cuda else 40, 448)
        if not cuda:
            compare("ViT-B/16, float32", plain, plain, 16, 448)
    if only in (None, "photographs"):
        labelling = Labelling(PromptSet.parse(WORDS), "tiny")
        compare_shipped(labelling, 240, (2048, 1536))
        compare_shipped(labelling, 96, (6000, 4000))
    if only in (None, "full-photographs"):
        compare_shipped_full("fp32")
        if resolve_precision("auto", torch.device("cpu")) == torch.bfloat16:
            compare_shipped_full("bf16")
    if only in (None, "memory"):
        few, many = peak_memory(200), peak_memory(2000)
        print(f"peak memory: {few:.0f} MB for 200 images, {many:.0f} MB for 2000: {many / few:.2f}")


if __name__ == "__main__":
    main()
