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
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import cache, partial
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
from dinoiser.batch.job_images import find_job_images
from dinoiser.errors import SettingsError
from dinoiser.export import read_mask
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.models.device import resolve_device
from dinoiser.prompts import PromptSet
from dinoiser.segment.passes import Passes
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.synchronize import Barrier

    from dinoiser_training.parallel import Workers

    from dinoiser.models.base import SegmentationModel

SIDE = 448
PROCESSES = 2
NO_PLUGINS = [part for name in ("xdist", "pytest-qt", "xvfb") for part in ("-p", f"no:{name}")]
"""Servers with a GPU may lack the libraries of Qt, without which its plugin ends pytest."""
STEPS = 5
SAME = {torch.float32: 99.9, torch.bfloat16: 97, torch.float16: 99}
"""Goals for the percentage of pixels with the labels of the CPU's float32. With random weights,
classes are nearly equal: the CPU itself has 98.1 in bfloat16 and 99.3 in float16."""
WITHOUT = (
    f"torch {torch.__version__} finds no CUDA GPU on this machine (or its driver is too old for "
    f"CUDA {torch.version.cuda}): nothing was measured."
)


class Line(NamedTuple):
    """A line of the table, to be measured."""

    what: str
    goal: str
    measure: Callable[[], object]
    form: str = "{}"


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
    command = [sys.executable, "-m", "pytest", "-q", *NO_PLUGINS, "-k", which, str(checks)]
    done = subprocess.run(
        command, cwd=checks.parents[2], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr, flush=True)
    told = (done.stdout or done.stderr).splitlines()
    return told[-1].strip("= ") if told else f"pytest ended with {done.returncode}"


def same_labels(
    model: SegmentationModel, reference: SegmentationModel, sizes: Sequence[tuple[int, int]]
) -> float:
    """Percentage of pixels with the same label of two models: the least of several sizes."""
    shares = []
    # TF32 has fewer bits than the CPU's float32
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for size in sizes:
            image = random_image(*size)
            first, second = (Segmenter(one).segment(image, PROMPTS) for one in (model, reference))
            shares.append(np.mean(first.labels == second.labels))
    return 100 * float(min(shares))


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


def images_per_second(job: LabelJob, model: SegmentationModel) -> float:
    """Time a whole job."""
    job.output.mkdir()
    taken = seconds(lambda: run_job(job, model))
    return len(find_job_images(job)) / taken


def bare_images_per_second(job: LabelJob, model: SegmentationModel) -> float:
    """Time the bare tower on the windows of a job's images, of which each has one."""
    windows = all_windows(job, model).to(model.device)  # the copy is the job's affair
    batch = Passes().windows(model, (SIDE, SIDE))
    run_bare(model, windows[:batch], batch)
    return len(windows) / seconds(lambda: run_bare(model, windows, batch))


_started: dict[torch.dtype, SegmentationModel] = {}
"""The model of a process that runs a share of a job."""


def start(scale: Scale, dtype: torch.dtype, job: LabelJob, barrier: Barrier) -> None:
    """Make a process ready: its model is loaded, and everything was used once."""
    _started[dtype] = scale.model(dtype)
    with tempfile.TemporaryDirectory() as temporary:
        running = replace(job.running, limit=200)  # enough for all threads to be used
        run_job(replace(job, output=Path(temporary), running=running), _started[dtype])
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
        local_addr="127.0.0.1",  # the machine's own name may lead nowhere
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


def lines(scale: Scale) -> Iterator[Line]:
    """Yield the lines of the table; each is measured before the next one is made."""
    yield Line("tests for devices", "none failed", partial(run_tests, scale.checks))
    steps = partial(steps_per_second, scale, scale.device)
    yield Line(f"steps of training per second, {scale.crops} crops", "", steps, "{:.2f}")
    yield Line(f"the same, {PROCESSES} processes", "", partial(shared_steps_per_second, scale))
    reference = random_model(torch.float32, small=scale.small)
    for dtype in dict.fromkeys((torch.float32, *scale.formats)):
        model = scale.model(dtype)
        name = dtype_name(model)
        same = partial(same_labels, model, reference, scale.sizes)
        yield Line(f"labels as on the CPU, {name}", f"{SAME[dtype]} %", same, "{:.2f} %")
        if dtype not in scale.formats:
            continue
        yield from _jobs(model, scale, name, dtype)
        fits = partial(refuses_politely, model)
        yield Line(f"a batch that does not fit is answered, {name}", "True", fits)
        yield from _towers(model, scale, name)


def _towers(model: ClipDinoiser, scale: Scale, name: str) -> Iterator[Line]:
    bare = bare_tower(model)
    batch = Passes().windows(model, (SIDE, SIDE))
    for compiler in (None, scale.compiler):
        ratio = partial(
            compare_forward, model, bare, batch, pairs=scale.pairs, compiled_by=compiler
        )
        how = f"{name}, both compiled" if compiler else name
        yield Line(f"image tower / open_clip's, {how}", "at most 1.00", ratio, "{:.2f}")


def _jobs(model: ClipDinoiser, scale: Scale, name: str, dtype: torch.dtype) -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        job = a_job(top, scale.images)

        @cache
        def bare() -> float:  # once, for both lines that ask for it
            return bare_images_per_second(job, model)

        def compared(speed: float) -> str:
            return f"{speed / bare():.2f} ({speed:.0f} images/s)"

        same = partial(same_masks, job, model, top)
        yield Line(f"same masks, batches filled otherwise, {name}", "True", same)
        what = f"job / bare tower, {name}"
        yield Line(what, "0.60", lambda: compared(images_per_second(job, model)))
        what = f"{PROCESSES} processes / bare tower, {name}"
        yield Line(what, "0.80", lambda: compared(in_processes(job, scale, dtype, top)))


def print_line(line: Line) -> None:
    """Measure and print a line; one that fails says why, and the others follow."""
    try:
        with redirect_stdout(sys.stderr):  # what else is said does not come between lines
            found = line.form.format(line.measure())
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    cell = " ".join(found.split()).replace("|", "/")
    print(f"| {line.what} | {cell} | {line.goal} |", flush=True)


def main() -> None:
    """Print the table line by line, or that there is no GPU."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="try every line out on the CPU")
    quick = parser.parse_args().quick
    describe_machine()
    if not quick and not torch.cuda.is_available():
        print(WITHOUT)
        return
    start = time.perf_counter()
    where = "CPU, tried out only" if quick else torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DINOISER_CACHE"] = cache  # nothing of random models stays
        print(f"\n{where}\n\n| what | found | goal |\n|---|---|---|", flush=True)
        for line in lines(QUICK if quick else FULL):
            print_line(line)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
