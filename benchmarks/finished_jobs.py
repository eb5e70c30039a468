"""Large jobs around the labelling: python -m benchmarks.finished_jobs [IMAGES ...].

Makes finished jobs of many small images, by multiplying one that was labelled, and times what
people do with them: list the images, resume, export COCO, open the records for review. Each runs in
a process of its own, whose peak memory is printed, too. All should grow no faster than the images.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.memory import MB, peak, reset_peak
from benchmarks.setting import describe_machine
from dinoiser.batch import LabelJob, Labelling, Results, Running, read_records, run
from dinoiser.batch.export import export as export_masks
from dinoiser.batch.job_images import search_inputs
from dinoiser.batch.records import RecordFile
from dinoiser.batch.reviews import read_labelled
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = 10_000, 100_000
PER_FOLDER = 1_000
WORDS = "background, red circle, blue star, green square"


def main() -> None:
    """Print a table with a line for each number of images."""
    describe_machine()
    steps = {"list": list_images, "resume": resume, "export COCO": export, "review": review}
    print(f"| images | {' | '.join(steps)} |\n|---:{'|---:' * len(steps)}|")
    for images in map(int, sys.argv[1:] or SIZES):
        with TemporaryDirectory() as folder:
            _make(Path(folder), images)
            cells = [_measure(step, folder) for step in steps.values()]
            print(f"| {images:,} | {' | '.join(cells)} |", flush=True)


def _measure(step: Callable[[str], None], folder: str) -> str:
    """Run a step in a fresh process; describe its time, and its memory above that at the start."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        seconds, megabytes = pool.submit(_timed, step, folder).result()
    return f"{seconds:.1f} s, {megabytes:.0f} MB"


def _timed(step: Callable[[str], None], folder: str) -> tuple[float, float]:
    reset_peak()
    before, start = peak(), time.perf_counter()
    step(folder)
    took = time.perf_counter() - start
    return took, (peak() - before) / MB


# -- The steps, each on the folder of images and the folder of results


def list_images(folder: str) -> None:
    """Search the images."""
    search_inputs(_job(Path(folder)))


def resume(folder: str) -> None:
    """Find out that nothing is left to do, and write the report anew."""
    run(_job(Path(folder)))


def export(folder: str) -> None:
    """Make annotations of the masks."""
    export_masks(Path(folder) / "out", ["coco"])


def review(folder: str) -> None:
    """Read what the Review tab needs of all images."""
    read_labelled(Path(folder) / "out")


# -- A finished job


def _job(folder: Path) -> LabelJob:
    return LabelJob(
        inputs=(folder / "in",),
        output=folder / "out",
        labelling=Labelling(PromptSet.parse(WORDS), "tiny"),
        results=Results(formats=("png",)),
        running=Running(scheduler="sync"),
    )


def _make(folder: Path, images: int) -> None:
    """Label one image, and make the same of all others."""
    from PIL import Image

    (folder / "in" / "000").mkdir(parents=True)
    first = folder / "in" / "000" / "000000.png"
    [scene] = draw_scenes(1, 0, (64, 64))
    Image.fromarray(scene.image).save(first)
    run(_job(folder))
    [record] = read_records(folder / "out")
    image, mask = first.read_bytes(), (folder / "out/masks/000/000000.png").read_bytes()
    records = []
    for number in range(1, images):
        stem = f"{number // PER_FOLDER:03}/{number:06}"
        for path, content in (
            (folder / "in" / f"{stem}.png", image),
            (folder / "out/masks" / f"{stem}.png", mask),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        source = folder / "in" / f"{stem}.png"
        news = {"image": f"{stem}.png", "stem": stem, "path": str(source)}
        news["modified"] = source.stat().st_mtime_ns
        records.append(record.model_copy(update=news))
    RecordFile(folder / "out").append(records)


if __name__ == "__main__":
    main()
