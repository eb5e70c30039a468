"""How the tests run, kill and compare jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import psutil
from PIL import Image

from dinoiser.batch import (
    LabelJob,
    Labelling,
    Results,
    Running,
    SegmentSettings,
    read_records,
)
from dinoiser.batch.folder import LOCK
from dinoiser.batch.records import RECORDS
from dinoiser.batch.reviews import MASK_LOCK
from dinoiser.scenes import draw_scenes

WORDS = "background, red circle, blue star, green square"
FORMATS = ("png", "coco")
COUNT = 200
"""Images of the job that is run, killed and compared."""
SETTINGS = SegmentSettings(short_side=96, window=96, stride=48)
"""Two small windows an image: what is tested is the job, which they make six times as fast."""
PROGRAM = [sys.executable, "-c", "from dinoiser.cli import main; main()"]


def draw_folder(folder, count, size=(96, 128)):
    folder.mkdir()
    scenes = draw_scenes(min(count, 20), 12, size)
    for i, scene in zip(range(count), list(scenes) * (count // 20 + 1), strict=False):
        Image.fromarray(np.roll(scene.image, i, axis=1)).save(folder / f"{i:03}.jpg")
    return folder


def command(images, out, *more):
    formats = [part for name in FORMATS for part in ("-f", name)]
    model = ["-m", "tiny", "-d", "cpu", "--precision", "fp32", "--no-report"]
    windows = ["--short-side", "96", "--window", "96", "--stride", "48"]
    options = [*formats, *model, *windows, *more]
    return [*PROGRAM, "label", str(images), "-p", WORDS, "-o", str(out), *options]


def contents(out):
    """All files of a job but locks, and the records, which hold how long each image took."""
    left_out = {RECORDS.name, LOCK, MASK_LOCK}
    files = [p for p in out.rglob("*") if p.is_file() and not left_out.intersection(p.parts)]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def told(out):
    """What the records say, without the time it took."""
    return [record.model_copy(update={"seconds": 0}) for record in read_records(out)]


def assert_same(out, undisturbed):
    assert contents(out) == contents(undisturbed)
    assert told(out) == told(undisturbed)
    document = json.loads((out / "annotations.json").read_text())
    names = [image["file_name"] for image in document["images"]]
    assert names == sorted({record.image for record in read_records(undisturbed)})
    ids = [annotation["id"] for annotation in document["annotations"]]
    assert len(ids) == len(set(ids)) > len(names) / 2


def count_lines(out):
    lines = 0
    for path in (out / RECORDS).glob("*.jsonl"):
        with suppress(FileNotFoundError):  # they are merged into one at times
            lines += path.read_bytes().count(b"\n")
    return lines


def kill_when(arguments, out, lines):
    """Run a command, and kill it when there are so many lines of records."""
    process = subprocess.Popen(arguments)
    wait_until(lambda: process.poll() is not None or count_lines(out) >= lines, "labelling")
    process.kill()
    process.wait()


def wait_until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


def start(arguments, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(arguments, **pipes, start_new_session=True, **options)


def finish(images, out):
    """Run the same command again, to its end."""
    arguments = command(images, out, "--scheduler", "sync")
    subprocess.run(arguments, check=True, capture_output=True)


def labelling_processes(process):
    """Worker processes of a run: children of children are the nannies' workers."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def count_masks(out):
    return len(list((out / "masks").glob("*.png")))


def kill_client_at_random(arguments, out, moments):
    """Run, wait for some more masks or records, and kill the whole process group."""
    process = start(arguments)
    count = moments.choice([count_masks, count_lines])  # records come after the masks
    goal = count(out) + moments.randint(1, 4)
    wait_until(lambda: count(out) >= goal or process.poll() is not None, "progress")
    time.sleep(moments.random() * 0.03)
    kill_group(process)


def kill_worker_at_random(process, out, moments):
    goal = count_lines(out) + moments.randint(1, 4)
    wait_until(lambda: count_lines(out) >= goal or process.poll() is not None, "progress")
    for worker in labelling_processes(process):
        worker.kill()


def kill_group(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def job_of(inputs, output, prompts, **changes):
    """Make a job of the embedded model on the CPU, changed as `changed` does."""
    labelling = Labelling(prompts, model="tiny")
    return changed(LabelJob(inputs, output, labelling, running=Running(device="cpu")), **changes)


def changed(job, **changes):
    """Change settings of a job, each in the part that it belongs to."""
    for name, value in changes.items():
        parts = ("labelling", Labelling), ("results", Results), ("running", Running)
        place = next((part for part, kind in parts if name in kind.__dataclass_fields__), None)
        if place is None:
            job = replace(job, **{name: value})
        else:
            job = replace(job, **{place: replace(getattr(job, place), **{name: value})})
    return job
