"""How long the window stands still in a review: python -m benchmarks.window, with a display.

A timer of 10 ms runs in the window's thread; its longest pause is what a person feels. Each row is
the median of three runs, on images of 480 x 640 and of 19 megapixels. The baseline is the same work
done in the window's thread, as a plain script would: reading the image and the mask, and writing
the mask with its record.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari import Viewer
from PIL import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from benchmarks.setting import describe_machine, random_image
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.export.png import read_mask, write_mask
from dinoiser.images import read_labelled_image
from dinoiser.prompts import PromptSet
from napari_dinoiser.review.widget import ReviewWidget

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = ((480, 640), (3600, 5300))
IMAGES = 5
RUNS = 3
RECORDS = 10_000
PROMPTS = PromptSet.from_names(["background", "ball", "box"])


class Gap:
    """The longest pause of a timer in the window's thread, in milliseconds."""

    def __init__(self) -> None:
        self._timer = QTimer(interval=10)
        self._timer.timeout.connect(self._tick)

    def during(self, action: Callable[[], None], until: Callable[[], bool]) -> float:
        """Measure while an action runs, and on until what it began is done."""
        self._worst, self._last = 0.0, time.perf_counter()
        self._timer.start()
        action()
        while not until():
            QApplication.processEvents()
        for _ in range(20):  # and while its outcome is drawn
            QApplication.processEvents()
            time.sleep(0.01)
        self._timer.stop()
        return self._worst

    def _tick(self) -> None:
        now = time.perf_counter()
        self._worst, self._last = max(self._worst, 1000 * (now - self._last)), now


def make_job(folder: Path, size: tuple[int, int]) -> Path:
    """Write a job of a few photographs, as `dinoiser label` leaves it."""
    output, masks = folder / "out", np.zeros(size, np.uint8)
    masks[: size[0] // 2] = 1
    folder.mkdir()
    records = []
    for number in range(IMAGES):
        path = folder / f"{number}.jpg"
        Image.fromarray(random_image(*size)).save(path)
        write_mask(masks, PROMPTS, output / "masks" / f"{number}.png")
        records.append(record(str(number), path, size))
    PROMPTS.save(output / "prompts.yaml")
    (output / "job.yaml").write_text("version: 1\n")
    RecordFile(output).append(records)
    return output


def record(stem: str, path: Path, size: tuple[int, int]) -> Record:
    """Return the record of a labelled image."""
    half = size[0] * size[1] // 2
    histogram = dict.fromkeys((0, 1), (half // 20,) * 20)
    return Record(
        image=f"{stem}.jpg",
        stem=stem,
        path=str(path),
        status="done",
        size=size,
        pixels={0: half, 1: half},
        confidence={0: 0.9, 1: 0.5 + int(stem[-3:] or 0) % 100 / 250},
        histogram=histogram,
    )


def in_the_window(output: Path) -> dict[str, float]:
    """Baseline: seconds that reading, and saving, take where they are waited for."""
    image = read_labelled(output)[0]
    start = time.perf_counter()
    labels = read_mask(output / "masks" / f"{image.stem}.png")
    read_labelled_image(image.path, labels.shape)
    middle = time.perf_counter()
    Reviews(output, PROMPTS).save(image, "unchecked", labels)
    end = time.perf_counter()
    read, saved = 1000 * (middle - start), 1000 * (end - middle)
    return {"open": read, "accept and next": read, "paint, accept and next": read + saved}


def gaps(output: Path) -> dict[str, float]:
    """Worst gaps of a review in a window of its own."""
    viewer = Viewer()
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget)
    QApplication.processEvents()
    gap, opened = Gap(), []
    widget.job_opened.connect(opened.append)
    accept = widget.findChild(object, "accept")

    def idle() -> bool:
        return not widget._background.busy

    found = {"open": gap.during(lambda: widget.open_job(output), lambda: bool(opened))}
    found["accept and next"] = gap.during(accept.click, idle)
    labels = viewer.layers[-1]
    labels.data = np.where(labels.data == 1, 2, labels.data)
    found["paint, accept and next"] = gap.during(accept.click, idle)
    viewer.close()
    return found


def open_many(folder: Path) -> float:
    """Seconds until the records of a large job are read."""
    RecordFile(folder).append([record(f"{i:05}", Path("x"), (480, 640)) for i in range(RECORDS)])
    start = time.perf_counter()
    read_labelled(folder)
    return time.perf_counter() - start


def main() -> None:
    """Print gaps and their ratio to the baseline."""
    describe_machine()
    print("| size | step | worst gap (ms) | in the window's thread (ms) | of the baseline |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            output = make_job(Path(folder) / str(size[0]), size)
            gaps(output)  # imports
            runs = [gaps(output) for _ in range(RUNS)]
            baselines = [in_the_window(output) for _ in range(RUNS)]
            for step in runs[0]:
                worst = statistics.median(run[step] for run in runs)
                base = statistics.median(run[step] for run in baselines)
                name = f"{size[0]} x {size[1]}"
                print(f"| {name} | {step} | {worst:.0f} | {base:.0f} | {worst / base:.2f} |")
        print(f"records of {RECORDS:,} images: {open_many(Path(folder)):.2f} s")


if __name__ == "__main__":
    main()
