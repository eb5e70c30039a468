"""Memory of all processes of a long job: python -m benchmarks.many_images [IMAGES].

Labels many images of 32x32 on a dask scheduler and two workers of its own, and prints the resident
memory of each process at every tenth of the job. It should stay within 10 % from the second tenth
on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import psutil
from PIL import Image

from benchmarks.setting import describe_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 20_000
PORT = 18786
STEPS = 10


def main() -> None:
    """Print a table with a line for each tenth of the job."""
    describe_machine()
    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with TemporaryDirectory() as folder, ExitStack() as stack:
        _draw(Path(folder) / "in", images)
        start = time.perf_counter()
        processes = _start(Path(folder), stack)
        print(f"| images | {' | '.join(processes)} | s |\n|---{'|---' * (len(processes) + 1)}|")
        rows = []
        for done in _tenths(Path(folder) / "out", images, processes["client"]):
            rows.append([_megabytes(process) for process in processes.values()])
            cells = " | ".join(f"{size:.0f}" for size in rows[-1])
            print(f"| {done:,} | {cells} | {time.perf_counter() - start:.0f} |", flush=True)
        growth = np.array(rows)[1:-1].max(0) / np.array(rows)[1]
        shares = ", ".join(f"{n} {g:.2f}" for n, g in zip(processes, growth, strict=True))
        print(f"largest against the second tenth: {shares}")


def _draw(folder: Path, images: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(images):
        pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:06}.png", compress_level=1)


def _start(folder: Path, stack: ExitStack) -> dict[str, subprocess.Popen[bytes]]:
    """Start a scheduler, two workers, and the job."""

    def process(*arguments: str) -> subprocess.Popen[bytes]:
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = subprocess.Popen(arguments, **silent)
        stack.callback(running.kill)
        return running

    address = f"tcp://127.0.0.1:{PORT}"
    python = [sys.executable, "-m"]
    scheduler = process(
        *python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(PORT),
        "--no-dashboard",
    )  # fmt: skip
    workers = [
        process(
            *python, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny",
            "--no-dashboard", "--local-directory", str(folder / f"worker{i}"),
        )
        for i in range(2)
    ]  # fmt: skip
    windows = ["--short-side", "32", "--window", "32", "--stride", "32", "--refine", "none"]
    client = process(
        sys.executable, "-c", "from dinoiser.cli import main; main()", "label", str(folder / "in"),
        "-p", "background, circle, star", "-m", "tiny", "-d", "cpu", "-o", str(folder / "out"),
        "-f", "png,coco", "--scheduler", address, *windows,
    )  # fmt: skip
    named = {f"worker {i}": worker for i, worker in enumerate(workers, start=1)}
    return {"client": client, "scheduler": scheduler, **named}


def _tenths(output: Path, images: int, client: subprocess.Popen[bytes]) -> Iterator[int]:
    """Give the number of labelled images at every tenth, while the job runs."""
    step = 1
    while client.poll() is None and step <= STEPS:
        done = sum(path.read_bytes().count(b"\n") for path in (output / "records").glob("*.jsonl"))
        if done >= images * step // STEPS:
            yield done
            step = done * STEPS // images + 1
        time.sleep(0.5)
    if client.wait() != 0:
        msg = "the job failed: run its command by hand"
        raise RuntimeError(msg)


def _megabytes(process: subprocess.Popen[bytes]) -> float:
    return psutil.Process(process.pid).memory_info().rss / 1e6


if __name__ == "__main__":
    main()
