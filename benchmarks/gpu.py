"""Everything that needs a GPU, in minutes and offline: make gpu.

Models are full-size with random weights. Prints a Markdown table for docs/about/performance.md.
On a machine without a GPU it says so and measures nothing; `--quick` tries every line out on the
CPU with small models and few images, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from dinoiser_training.parallel import join_workers, local_device
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from benchmarks.batch import WORDS, all_windows, draw_folder, run_bare, run_job
from benchmarks.forward import bare_tower, compare_forward
from benchmarks.setting import PROMPTS, describe_machine, random_image, random_model, seconds
from benchmarks.train import ALONE, OurWay
from dinoiser.batch import LabelJob, Labelling, Results
from dinoiser.batch.engines.shared_model import BatchedModel
from dinoiser.batch.job import dtype_name
from dinoiser.errors import SettingsError
from dinoiser.export import read_mask
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.models.device import resolve_device
from dinoiser.prompts import PromptSet
from dinoiser.segment.passes import Passes
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.synchronize import Barrier

    from dinoiser_training.parallel import Workers

    from dinoiser.models.base import SegmentationModel

SIDE = 448
PROCESSES = 2
STEPS = 5
WITHOUT = "There is no CUDA GPU on this machine: nothing was measured."


class Row(NamedTuple):
    """A line of the table."""

    what: str
    found: str
    goal: str


class Scale(NamedTuple):
    """How large everything is.

    Attributes
    ----------
    checks
        Which of the tests for devices run, see pytest's -k.
    device
        Where it runs.
    formats
        The number formats of models.
    small
        Whether models are small.
    images
        Images of a job.
    sizes
        (height, width) of the images whose labels are compared.
    pairs
        How often two towers are timed in turn.
    compiler
        The backend of `torch.compile`.
    crops, side
        Number of crops in a step of training, and their sides in pixels.
    """

    checks: str
    device: str
    formats: tuple[torch.dtype, ...]
    small: bool
    images: int
    sizes: tuple[tuple[int, int], ...]
    pairs: int
    compiler: str
    crops: int
    side: int

    def model(self, dtype: torch.dtype) -> ClipDinoiser:
        """Make a model on the device."""
        return random_model(dtype, self.device, small=self.small)


FULL = Scale(
    checks="test",
    device="cuda",
    formats=(torch.bfloat16, torch.float16),
    small=False,
    images=800,
    sizes=((SIDE, SIDE), (768, 1024), (1536, 2048)),
    pairs=9,
    compiler="inductor",
    crops=16,
    side=SIDE,
)
QUICK = Scale(
    checks="two_bytes",
    device="cpu",
    formats=(torch.float32,),
    small=True,
    images=4,
    sizes=((64, 96),),
    pairs=1,
    compiler="eager",
    crops=2,
    side=64,
)


def run_tests(which: str) -> str:
    """Run the tests for devices, on the GPU or the stand-in; return pytest's last line."""
    checks = Path(__file__).parents[1] / "tests" / "other_device" / "checks.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-k", which, str(checks)]
    done = subprocess.run(
        command, cwd=checks.parents[2], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout)
    return done.stdout.splitlines()[-1].strip("= ")


def same_labels(
    model: SegmentationModel, reference: SegmentationModel, sizes: Sequence[tuple[int, int]]
) -> float:
    """Share of pixels to which two models give the same label, on images of several sizes."""
    shares = []
    for size in sizes:
        image = random_image(*size)
        first, second = (Segmenter(one).segment(image, PROMPTS) for one in (model, reference))
        shares.append(np.mean(first.labels == second.labels))
    return float(min(shares))


def same_masks(job: LabelJob, model: SegmentationModel, top: Path) -> bool:
    """Whether batches that are filled otherwise, as with other shards, give the same masks."""
    outputs = []
    for limit in (3, 48):
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
    """Images per second of a whole job, and of the bare tower."""
    job.output.mkdir()
    windows = all_windows(job, model)
    batch = Passes().windows(model, (SIDE, SIDE))
    run_bare(model, windows[:batch], batch)
    bare = seconds(lambda: run_bare(model, windows, batch))
    taken = seconds(lambda: run_job(job, model))
    return len(windows) / taken, len(windows) / bare


_started: dict[torch.dtype, SegmentationModel] = {}
"""The model of a process that runs a share of a job."""


def start(scale: Scale, dtype: torch.dtype, job: LabelJob, barrier: Barrier) -> None:
    """Make a process ready: its model is loaded, and everything was used once."""
    _started[dtype] = scale.model(dtype)
    with tempfile.TemporaryDirectory() as temporary:
        warm = replace(job, output=Path(temporary), running=replace(job.running, limit=2))
        run_job(warm, _started[dtype])
    barrier.wait()


def run_share(job: LabelJob, dtype: torch.dtype) -> None:
    """Run a job in a process that was made ready."""
    job.output.mkdir()
    run_job(job, _started[dtype])


def in_processes(job: LabelJob, scale: Scale, dtype: torch.dtype, top: Path) -> float:
    """Images per second of as many jobs of the same folder as there are processes, at a time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES + 1, timeout=120)  # if one of them does not start
    given = scale, dtype, job, barrier
    with ProcessPoolExecutor(PROCESSES, context, start, given) as pool:
        # the first tasks start the processes, which wait for each other and for the clock
        jobs = [replace(job, output=top / f"process-{i}") for i in range(PROCESSES)]
        running = [pool.submit(run_share, one, dtype) for one in jobs]
        barrier.wait()
        taken = seconds(lambda: [one.result() for one in running])
    return PROCESSES * scale.images / taken


def refuses_politely(model: ClipDinoiser) -> bool:
    """Whether a batch that does not fit into memory is answered by a sentence."""
    window = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    with little_memory(model), BatchedModel(model, Passes()) as shared:
        try:
            shared.encode([window])
        except SettingsError as error:
            return "choose a smaller --batch-size" in str(error)
    return False


@contextmanager
def little_memory(model: ClipDinoiser) -> Iterator[None]:
    """Leave the device no memory but for what it holds; the CPU only says that there is none."""
    if model.device.type != "cuda":
        with patch.object(ClipDinoiser, "encode_image", side_effect=torch.OutOfMemoryError):
            yield
        return
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(model.device) / torch.cuda.mem_get_info(model.device)[1]
    torch.cuda.set_per_process_memory_fraction(held, model.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, model.device)


def steps_per_second(scale: Scale, device: str, workers: Workers = ALONE) -> float:
    """Time steps of `dinoiser train`, alone or as one of the processes that share them."""
    place = resolve_device(device)
    step = OurWay(place, small=scale.small, workers=workers)
    pixels = torch.rand(scale.crops, 3, scale.side, scale.side, device=place)

    def some_steps() -> None:
        for _ in range(STEPS):
            step(pixels)
        step.heads.state_dict()["obj_proj.weight"].cpu()  # waits for a device

    step(pixels)
    return STEPS / seconds(some_steps)


def shared_steps_per_second(scale: Scale) -> str:
    """Time them in processes that are started as torchrun does, or say why that is refused."""
    # the defaults of torchrun on one machine
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=PROCESSES,
        run_id="benchmarks",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        return f"{elastic_launch(config, take_share)(scale)[0]:.2f}"
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        # a sentence with its traceback, or only a sentence where the process was killed
        told = failure.message
        return str(told["message"] if isinstance(told, dict) else told)


def take_share(scale: Scale) -> float:
    """Take steps with the other processes, on the device that `dinoiser train` gives this one."""
    if scale.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with join_workers() as workers:
        return steps_per_second(scale, local_device() or scale.device, workers)


def measure(scale: Scale) -> Iterator[Row]:
    """Measure at a scale; yield the lines of the table as they are done."""
    yield Row("tests for devices", run_tests(scale.checks), "none failed")
    reference = random_model(torch.float32, small=scale.small)
    for dtype in scale.formats:
        model = scale.model(dtype)
        name = dtype_name(model)
        yield from _towers(model, scale, name)
        share = same_labels(model, reference, scale.sizes)
        yield Row(f"labels as on the CPU, {name}", f"{100 * share:.2f} %", "99.9 %")
        yield from _jobs(model, scale, name, dtype)
        fits = refuses_politely(model)
        yield Row(f"a batch that does not fit is answered, {name}", str(fits), "True")
    step = f"steps of training per second, {scale.crops} crops"
    yield Row(step, f"{steps_per_second(scale, scale.device):.2f}", "")
    yield Row(f"the same, {PROCESSES} processes", shared_steps_per_second(scale), "")


def _towers(model: ClipDinoiser, scale: Scale, name: str) -> Iterator[Row]:
    bare = bare_tower(model)
    batch = Passes().windows(model, (SIDE, SIDE))
    for compiler in (None, scale.compiler):
        ratio = compare_forward(model, bare, batch, pairs=scale.pairs, compiled_by=compiler)
        how = f"{name}, both compiled" if compiler else name
        yield Row(f"image tower / open_clip's, {how}", f"{ratio:.2f}", "at most 1.00")


def _jobs(model: ClipDinoiser, scale: Scale, name: str, dtype: torch.dtype) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        os.environ["DINOISER_CACHE"] = str(top / "cache")
        job = a_job(top, scale.images)
        same = same_masks(job, model, top)
        yield Row(f"same masks, batches filled otherwise, {name}", str(same), "True")
        speed, bare = whole_job(job, model)
        yield Row(f"job / bare tower, {name}", f"{speed / bare:.2f} ({speed:.0f} images/s)", "0.60")
        speed = in_processes(job, scale, dtype, top)
        found = f"{speed / bare:.2f} ({speed:.0f} images/s)"
        yield Row(f"{PROCESSES} processes / bare tower, {name}", found, "0.80")


def main() -> None:
    """Print the table, or that there is no GPU."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="try every line out on the CPU")
    quick = parser.parse_args().quick
    describe_machine()
    if not quick and not torch.cuda.is_available():
        print(WITHOUT)
        return
    taken = time.perf_counter()
    rows = list(measure(QUICK if quick else FULL))
    taken = time.perf_counter() - taken
    where = "CPU, tried out only" if quick else torch.cuda.get_device_name()
    print(f"\n{where}, {taken / 60:.1f} minutes\n\n| what | found | goal |\n|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.found} | {row.goal} |")


if __name__ == "__main__":
    main()
