"""What a person waits for in napari: python -m benchmarks.plugin, with a display.

A timer of 10 ms runs in the window's thread; its longest pause, the gap, is how long the window
stands still. Of each, the most that the window's thread itself worked in a pause is printed, too:
unlike the pause, it does not depend on what else the machine does. Measured are:

- The gap of a first run that has to import torch, in processes of their own.
- Segment, on 1024 x 768 pixels with 20 classes and a full-size CLIP-DINOiser with random weights:
  the gaps of opening the widget, of the first run, of the first map, of the other map and of the
  way back to labels; the time to new labels on screen from a changed word, from a changed image,
  and from each of 20 strokes that teach; and memory while 50 images are opened, labelled and
  closed, one after another.
- Folder, on 40 images of 480 x 640 with the embedded model: the gaps of a job in this process,
  while a heat map is shown in Segment and somebody zooms twice a second.
- Review, on images of 480 x 640 and of 19 megapixels: gaps, as the median of three runs. The
  baseline is the same work done in the window's thread, as a plain script would: reading the image
  and the mask, and writing the mask with its record.
- The time until 10,000 records are read.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from napari import Viewer
from napari.layers import Labels
from PIL import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QLineEdit, QPushButton, QRadioButton

from benchmarks.gap import LONG, Gap, Pauses
from benchmarks.setting import (
    PROMPTS,
    describe_machine,
    random_image,
    random_model,
    seconds,
)
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.export.png import read_mask, write_mask
from dinoiser.images import read_labelled_image
from dinoiser.models.device import resolve_precision
from dinoiser.prompts import PromptSet
from napari_dinoiser.main_widget import DinoiserWidget
from napari_dinoiser.prompts.table_model import Column
from napari_dinoiser.review.widget import ReviewWidget
from napari_dinoiser.segment.encoder import Encoder
from napari_dinoiser.segment.map_layer import COLORMAPS, CONFIDENCE, HEAT_MAP
from napari_dinoiser.segment.widget import SegmentWidget

ROUNDS = 20
IMAGES = 50
SIZES = ((480, 640), (3600, 5300))
"""Of images under review."""
REVIEWED = 5
RUNS = 3
RECORDS = 10_000
FOLDER = 40
"""Images of a folder."""
MAPS = (
    ("first map", "show_heatmap", HEAT_MAP),
    ("another map", "show_confidence", CONFIDENCE),
    ("labels again", "show_labels", None),
)
"""Steps, what is clicked, and the map that is shown then."""
CLASSES = PromptSet.from_names(["background", "ball", "box"])


def settle(widget: SegmentWidget) -> None:
    """Process events until the labels match the words and are drawn."""
    QApplication.processEvents()
    while widget._pause.isActive() or widget.runner.request is not None:
        QApplication.processEvents()
        time.sleep(0.001)
    QApplication.processEvents()


def change_a_word(widget: SegmentWidget, number: int) -> None:
    """Change the word in a row of the table."""
    model = widget.table.findChild(object, "prompt_table").model()
    row = number % model.rowCount()
    model.setData(model.index(row, Column.NAME), f"word number {number}")
    settle(widget)


def paint_a_stroke(widget: SegmentWidget, number: int) -> None:
    """Paint a short stroke of one of the classes, in another place each time."""
    layer = next(one for one in widget.viewer.layers if isinstance(one, Labels))
    row, column = divmod(number, 5)
    with layer.block_history():
        layer.paint((90 + 180 * row, 100 + 200 * column), 1 + number % 4)
    settle(widget)


def look_again(widget: SegmentWidget) -> None:
    """Change the image and label it again."""
    layer = widget.picker.layer()
    layer.data = layer.data.copy()
    widget.run()
    settle(widget)


def show_an_image(widget: SegmentWidget, number: int) -> None:
    """Open an image, label it, and close it."""
    widget.viewer.add_image(np.roll(random_image(768, 1024), number, 0))
    widget.run()
    settle(widget)
    widget.viewer.layers.clear()
    settle(widget)  # napari's canvas does not survive a new layer at this moment


def measure_segment() -> None:
    """Print gaps and times of the Segment tab, and memory."""
    model = random_model(resolve_precision("auto", torch.device("cpu")))
    viewer, gap, opened = Viewer(), Gap(), []
    QApplication.processEvents()

    def open_widget() -> None:
        opened.append(SegmentWidget(viewer, Encoder(load=lambda *_, **__: model)))
        viewer.window.add_dock_widget(opened[0])

    def done() -> bool:
        return opened[0].runner.request is None

    gaps = {"open the widget": gap.during(open_widget, lambda: True)}
    widget = opened[0]
    widget.table.set_prompt_set(PROMPTS)
    viewer.add_image(random_image(768, 1024))
    gaps["first run"] = gap.during(widget.run, done)
    for step, choice, kind in MAPS:
        button = widget.findChild(QRadioButton, choice)
        gaps[step] = gap.during(button.click, lambda kind=kind: map_in_view(viewer) == kind)
    for step, found in gaps.items():
        print(f"{step}: worst gap {found.worst:.0f} ms, work {found.work:.0f} ms")
    change_a_word(widget, ROUNDS)
    words = [seconds(lambda i=i: change_a_word(widget, i)) for i in range(ROUNDS)]
    looks = [seconds(lambda: look_again(widget)) for _ in range(5)]
    word, look = statistics.median(words), statistics.median(looks)
    print(f"a new word: median {word:.2f} s, worst {max(words):.2f} s; ", end="")
    print(f"with the tower: {look:.2f} s, {look / word:.1f} times as long")
    widget.findChild(QPushButton, "learn_strokes").click()
    settle(widget)
    strokes = [seconds(lambda i=i: paint_a_stroke(widget, i)) for i in range(ROUNDS)]
    print(f"a stroke that teaches: median {statistics.median(strokes):.2f} s, ", end="")
    print(f"worst of {ROUNDS} {max(strokes):.2f} s")
    viewer.layers.clear()
    settle(widget)
    memory = []
    for number in range(IMAGES):
        show_an_image(widget, number)
        memory.append(psutil.Process().memory_info().rss / 2**20)
    print(f"memory after 10 images {memory[9]:.0f} MB, after {IMAGES} {memory[-1]:.0f} MB")
    viewer.close()


def map_in_view(viewer: Viewer) -> str | None:
    """Return the kind of map that is shown."""
    names = [layer.name for layer in viewer.layers if layer.visible]
    return next((kind for kind in COLORMAPS for name in names if name.startswith(kind)), None)


def measure_first_run() -> None:
    """Print the gap of a first run that imports torch."""
    command = [sys.executable, "-m", "benchmarks.first_run"]
    runs = [subprocess.run(command, check=True, capture_output=True) for _ in range(RUNS)]
    worst = statistics.median(float(run.stdout) for run in runs)
    print(f"first run, which imports torch: worst gap {worst:.0f} ms")


def measure_folder() -> None:
    """Print the gaps while a folder is labelled."""
    viewer, gap = Viewer(), Gap()
    widget = DinoiserWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.segment.models.set_model_name("tiny")
    widget.segment.table.set_prompt_set(CLASSES)
    viewer.add_image(random_image(768, 1024))
    widget.segment.run()
    settle(widget.segment)
    widget.segment.findChild(QRadioButton, "show_heatmap").click()
    gap.during(lambda: None, lambda: map_in_view(viewer) == HEAT_MAP)
    widget.tabs.setCurrentIndex(1)
    steps, camera = itertools.cycle((1.25, 0.8)), widget.segment._camera
    zooming = QTimer(interval=500)
    zooming.timeout.connect(lambda: setattr(camera, "zoom", camera.zoom * next(steps)))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(FOLDER):
            path = Path(folder) / "in" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.roll(random_image(480, 640), number, 0)).save(path)
        widget.folder.findChild(QLineEdit, "input_folder").setText(str(path.parent))
        widget.folder.scheduler.setCurrentText("sync")
        zooming.start()
        found = gap.during(widget.folder.run, lambda: widget.folder._worker is None)
    zooming.stop()
    print(f"folder of {FOLDER}: worst gap {found.worst:.0f} ms, work {found.work:.0f} ms, ", end="")
    print(f"{found.long} gaps of {LONG} ms and more")
    viewer.close()


def make_job(folder: Path, size: tuple[int, int]) -> Path:
    """Write a job of a few photographs, as `dinoiser label` leaves it."""
    output, masks = folder / "out", np.zeros(size, np.uint8)
    masks[: size[0] // 2] = 1
    folder.mkdir()
    records = []
    for number in range(REVIEWED):
        path = folder / f"{number}.jpg"
        Image.fromarray(random_image(*size)).save(path)
        write_mask(masks, CLASSES, output / "masks" / f"{number}.png")
        records.append(record(str(number), path, size))
    CLASSES.save(output / "prompts.yaml")
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
    Reviews(output, CLASSES).save(image, "unchecked", labels)
    end = time.perf_counter()
    read, saved = 1000 * (middle - start), 1000 * (end - middle)
    return {"open": read, "accept and next": read, "paint, accept and next": read + saved}


def review_gaps(output: Path) -> dict[str, Pauses]:
    """Worst gaps of a review, in milliseconds, in a window of its own."""
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


def measure_review() -> None:
    """Print gaps of the Review tab and their ratio to the baseline."""
    print("| size | step | worst gap (ms) | work (ms) | baseline (ms) | of the baseline |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            output = make_job(Path(folder) / str(size[0]), size)
            review_gaps(output)  # imports
            runs = [review_gaps(output) for _ in range(RUNS)]
            baselines = [in_the_window(output) for _ in range(RUNS)]
            for step in runs[0]:
                worst = statistics.median(run[step].worst for run in runs)
                work = statistics.median(run[step].work for run in runs)
                base = statistics.median(run[step] for run in baselines)
                name = f"{size[0]} x {size[1]}"
                print(f"| {name} | {step} | {worst:.0f} | {work:.0f} | ", end="")
                print(f"{base:.0f} | {worst / base:.2f} |")
        print(f"records of {RECORDS:,} images: {open_many(Path(folder)):.2f} s")


def main() -> None:
    """Print what was measured."""
    describe_machine()
    measure_first_run()
    measure_review()
    measure_segment()
    measure_folder()


if __name__ == "__main__":
    main()
