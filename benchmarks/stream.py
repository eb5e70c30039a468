"""Whether a job keeps a fast device busy: python -m benchmarks.stream.

The shipped pipeline, in shards, against a tower that only sleeps, as one on another device
does for the processor, and images that cost nothing: all that is measured is how windows of
several images and shards get into full batches, and results into records. Once as in this
process, where one shard flows into the next, and once as on a worker, which has several shards
under way. The last line is the share of the tower's speed that is left in the slower one.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch

from benchmarks.setting import describe_machine, seconds
from dinoiser.batch import LabelJob, Labelling
from dinoiser.batch.engines import labeller, shards, shared_model
from dinoiser.batch.engines.cluster import SHARDS_UNDER_WAY
from dinoiser.batch.job_images import JobImage, in_groups
from dinoiser.batch.records import Record
from dinoiser.models.base import PatchFeatures
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 8192
SHARD = 32
BATCH = 41
"""Windows of 448 pixels that a GPU takes at a time, see `dinoiser.segment.passes`."""
WINDOWS_PER_SECOND = 2000
ROUNDS = 3


class SleepingTower:
    """A model on an accelerator whose image tower takes its time, but no processor."""

    device = torch.device("meta")  # holds nothing, and is no CPU

    def __init__(self, model: Any) -> None:
        self._model = model
        self._patches = PatchFeatures(torch.zeros(1, 1, 1, 1), None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode_image(self, pixels: torch.Tensor) -> PatchFeatures:
        """Return the features of pixels (B, 3, h, w) as late as a device would."""
        time.sleep(len(pixels) / WINDOWS_PER_SECOND)
        return PatchFeatures(self._patches.features.expand(len(pixels), -1, -1, -1), None)


def encode_windows(model: SleepingTower, windows: torch.Tensor) -> PatchFeatures:
    """Do for the processor what two kernels do that turn bytes into numbers in [0, 1]."""
    # on the processor: "meta" runs the division in Python, for ten times as long as a launch takes
    torch.zeros(windows.shape, dtype=torch.uint8).float() / 255
    return model.encode_image(windows)


class FreeImages:
    """In the place of `ImageLabeller`: each image is one window, and there is nothing to write."""

    def __init__(self, _: LabelJob, pipeline: Any, threads: int | None) -> None:
        del threads
        self._tower = pipeline.tower
        self._window = torch.zeros(3, 16, 16, dtype=torch.uint8)

    def label(self, images: list[JobImage]) -> list[Record]:
        """Put a window of each image through the tower."""
        for _ in images:
            self._tower([self._window])
        return [
            Record(image=one.name, stem=one.stem, path=one.path, status="done") for one in images
        ]


@contextmanager
def free_images() -> Iterator[None]:
    """Let images cost nothing."""

    def sleeping_tower(*_: object, **__: object) -> SleepingTower:
        return SleepingTower(load_model("tiny", "cpu"))

    with (
        patch.object(shards, "load_model", sleeping_tower),
        patch.object(shards, "read_size", lambda _: (16, 16)),
        patch.object(shared_model, "encode_windows", encode_windows),
        patch.object(labeller, "ImageLabeller", FreeImages),
    ):
        yield


def label_in_process(job: LabelJob, model: dict[str, Any], images: list[JobImage]) -> None:
    """Label all images as `--scheduler sync` does."""
    count_all(images, shards.label_shards(job, model, in_groups(images, SHARD)))


def label_as_worker(job: LabelJob, model: dict[str, Any], images: list[JobImage]) -> None:
    """Label all images as a worker with a GPU does."""
    with ThreadPoolExecutor(SHARDS_UNDER_WAY["cuda"]) as pool:
        found = pool.map(
            lambda shard: list(shards.label_shards(job, model, [shard])), in_groups(images, SHARD)
        )
        count_all(images, chain.from_iterable(found))


def count_all(images: list[JobImage], records: Iterator[Record]) -> None:
    """Make sure that each image has its record."""
    assert {record.image for record in records} == {image.name for image in images}


def main() -> None:
    """Print the share of the tower's speed."""
    describe_machine()
    images = [JobImage(f"{i:05}.png", f"{i:05}", f"/none/{i:05}.png") for i in range(IMAGES)]
    works = {"in this process": label_in_process, "as a worker": label_as_worker}
    shares = {}
    with tempfile.TemporaryDirectory() as temporary, free_images():
        prompts, settings = PromptSet.parse("sky, grass"), SegmentSettings(batch_size=BATCH)
        job = LabelJob(
            inputs=(Path(temporary),),
            output=Path(temporary),
            labelling=Labelling(prompts, "tiny", settings=settings),
        )
        model = shards.describe_here(job)["model"]
        for name, work in works.items():
            work(job, model, images[: 10 * SHARD])  # what is done once
            start = time.process_time()
            times = [seconds(partial(work, job, model, images)) for _ in range(ROUNDS)]
            each = 1e6 * (time.process_time() - start) / ROUNDS / IMAGES
            speed = IMAGES / statistics.median(times)
            shares[name] = speed / WINDOWS_PER_SECOND
            print(
                f"{name}: {speed:.0f} of {WINDOWS_PER_SECOND} windows/s, "
                f"{each:.0f} µs of processor time for an image"
            )
    print(f"share of the tower: {min(shares.values()):.2f}")


if __name__ == "__main__":
    main()
