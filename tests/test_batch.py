"""Jobs: whatever is killed, the same command again gives what an undisturbed run gives."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from dinoiser.batch import LabelJob, Record, read_records, run
from dinoiser.batch.records import MERGED, RECORDS, RecordFile, merge_records
from dinoiser.batch.shared_model import BatchedModel
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.segment.segmenter import Segmenter

WORDS = "background, red circle, blue star, green square"
FORMATS = ("png", "coco")
PROGRAM = [sys.executable, "-c", "from dinoiser.cli import main; main()"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")


def draw_folder(folder, count, size=(96, 128)):
    folder.mkdir()
    scenes = draw_scenes(min(count, 20), 12, size)
    for i, scene in zip(range(count), list(scenes) * (count // 20 + 1), strict=False):
        Image.fromarray(np.roll(scene.image, i, axis=1)).save(folder / f"{i:03}.jpg")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("batch") / "pictures", 200)


@pytest.fixture(scope="module")
def make_job(pictures):
    base = LabelJob(
        inputs=(pictures,),
        output=pictures.parent / "nowhere",
        prompts=PromptSet.parse(WORDS),
        formats=FORMATS,
        model="tiny",
        device="cpu",
        precision="fp32",
        scheduler="sync",
        report=False,
    )

    def make(output, **changes):
        return replace(base, output=output, **changes)

    return make


@pytest.fixture(scope="module")
def undisturbed(make_job, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(make_job(out)).done == 200
    return out


def command(pictures, out, *more):
    formats = [part for name in FORMATS for part in ("-f", name)]
    model = ["-m", "tiny", "-d", "cpu", "--precision", "fp32", "--no-report"]
    return [*PROGRAM, "label", str(pictures), "-p", WORDS, "-o", str(out), *formats, *model, *more]


def contents(out):
    """All files of a job but the records, which hold how long each picture took."""
    files = [path for path in out.rglob("*") if path.is_file() and RECORDS.name not in path.parts]
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


def wait_until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


def start(arguments, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(arguments, **pipes, start_new_session=True, **options)


def finish(pictures, out):
    """Run the same command again, to its end."""
    arguments = command(pictures, out, "--scheduler", "sync")
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


def kill_client_at_random(arguments, out, moments):
    """Run, wait for some more pictures, and kill the whole process group."""
    process = start(arguments)
    goal = count_lines(out) + moments.randint(1, 12)
    wait_until(lambda: count_lines(out) >= goal or process.poll() is not None, "progress")
    time.sleep(moments.random() * 0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_worker_at_random(process, out, moments):
    goal = count_lines(out) + moments.randint(1, 12)
    wait_until(lambda: count_lines(out) >= goal or process.poll() is not None, "progress")
    for worker in labelling_processes(process):
        worker.kill()


def test_twenty_kills_leave_what_an_undisturbed_run_leaves(pictures, undisturbed, tmp_path):
    moments = random.Random(5)
    for kill in range(20):
        scheduler = "local" if kill % 5 == 4 else "sync"
        arguments = command(pictures, tmp_path, "--scheduler", scheduler)
        if kill % 10 == 9:
            process = start(arguments)
            kill_worker_at_random(process, tmp_path, moments)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        else:
            kill_client_at_random(arguments, tmp_path, moments)
    assert 20 < count_lines(tmp_path) < 200
    finish(pictures, tmp_path)
    assert_same(tmp_path, undisturbed)


def test_a_killed_worker_is_replaced_and_nothing_is_lost(pictures, undisturbed, tmp_path):
    process = start(command(pictures, tmp_path, "--scheduler", "local", "--workers", "2"))
    moments = random.Random(1)
    for _ in range(2):
        kill_worker_at_random(process, tmp_path, moments)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "200 of 200 pictures labelled" in said
    assert_same(tmp_path, undisturbed)


CRASHING_DECODER = """
import os, signal
import dinoiser.batch.label_pictures as label_pictures

read_image = label_pictures.read_image

def crash(path):
    if path.name == "007.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    return read_image(path)

def dask_setup(worker):
    label_pictures.read_image = crash
"""


def test_the_one_picture_that_kills_its_worker_is_found(pictures, undisturbed, tmp_path):
    (tmp_path / "crash.py").write_text(CRASHING_DECODER)
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "crash.py")}
    out = tmp_path / "out"
    arguments = command(pictures, out, "--scheduler", "local", "--limit", "40")
    process = start(arguments, env={**os.environ, **preload})
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "39 of 40 pictures labelled" in said
    assert said.count("007.jpg: the process that labelled it was killed, twice") == 1
    for stem in ("006", "008", "039"):
        mask = f"masks/{stem}.png"
        assert (out / mask).read_bytes() == (undisturbed / mask).read_bytes()


@contextmanager
def own_cluster(folder, workers):
    """A scheduler and workers as a person starts them by hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    port = address.rpartition(":")[2]
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen([*dask, "scheduler", *options, "--port", port], **quiet)
    options = ["--host", "127.0.0.1", "--no-dashboard", "--no-nanny", "--nthreads", "1"]
    started = [
        subprocess.Popen([*dask, "worker", address, *options], **quiet) for _ in range(workers)
    ]
    try:
        yield address, scheduler, started
    finally:
        for process in [*started, scheduler]:
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker(pictures, undisturbed, tmp_path):
    out = tmp_path / "out"
    with own_cluster(tmp_path, 2) as (address, _, workers):
        process = start(command(pictures, out, "--scheduler", address))
        wait_until(lambda: count_lines(out) > 10 or process.poll() is not None, "progress")
        workers[0].kill()
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert_same(out, undisturbed)


def test_a_cluster_that_loses_its_scheduler(pictures, undisturbed, tmp_path):
    out = tmp_path / "out"
    with own_cluster(tmp_path, 1) as (address, scheduler, _):
        process = start(command(pictures, out, "--scheduler", address))
        wait_until(lambda: count_lines(out) > 10 or process.poll() is not None, "progress")
        scheduler.kill()
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "run the same command to go on" in errors[0]
    assert "Traceback" not in said
    finish(pictures, out)
    assert_same(out, undisturbed)


def test_ctrl_c_on_a_local_cluster(pictures, undisturbed, tmp_path):
    process = start(command(pictures, tmp_path, "--scheduler", "local"))
    wait_until(lambda: count_lines(tmp_path) > 10 or process.poll() is not None, "progress")
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes of the group
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Run the same command again" in said
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
    assert 0 < count_lines(tmp_path) < 200
    finish(pictures, tmp_path)
    assert_same(tmp_path, undisturbed)


def test_no_scheduler_at_the_address(make_job, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = command(
        make_job(tmp_path).inputs[0], tmp_path, "--scheduler", f"tcp://127.0.0.1:{port}"
    )
    process = start(arguments)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"no dask scheduler at tcp://127.0.0.1:{port}" in " ".join(said.split())


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"batch_size": 1}, "shard_size": 8},
        {"settings": {"batch_size": 16}, "shard_size": 64},
        {"scheduler": "local", "workers": 1, "shard_size": 64},
        {"scheduler": "local", "workers": 2, "shard_size": 8},
    ],
    ids=["batch 1, shard 8", "batch 16, shard 64", "1 worker, shard 64", "2 workers, shard 8"],
)
def test_the_same_bytes_however_the_work_is_cut_up(make_job, undisturbed, tmp_path, changes):
    run(make_job(tmp_path, **changes))
    assert_same(tmp_path, undisturbed)


def test_a_full_disk_stops_the_job_and_leaves_nothing_half_written(pictures, undisturbed, tmp_path):
    """A limit on the size of files stands in for the disk: writing fails in the same place."""

    def few_bytes():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    arguments = command(pictures, tmp_path, "-f", "overlay")
    process = start(arguments, preexec_fn=few_bytes)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Cannot write" in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*.part"))
    for path in tmp_path.rglob("*.jpg"):
        with Image.open(path) as preview:
            preview.load()
    assert count_lines(tmp_path) < 200
    finish(pictures, tmp_path)
    assert_same(tmp_path, undisturbed)


def test_a_format_that_is_asked_for_later_needs_no_model(make_job, undisturbed, tmp_path):
    run(make_job(tmp_path, formats=("png",)))
    assert not (tmp_path / "annotations.json").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("masks/*.png")}
    summary = run(make_job(tmp_path, formats=("png", "coco")))
    assert summary.resumed == 200
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("masks/*.png")}
    assert_same(tmp_path, undisturbed)


def test_a_mask_that_is_gone_is_made_again(make_job, undisturbed, tmp_path):
    run(make_job(tmp_path))
    (tmp_path / "masks" / "123.png").unlink()
    assert run(make_job(tmp_path)).resumed == 199
    assert_same(tmp_path, undisturbed)


def test_overwriting_removes_what_the_job_made_and_nothing_else(make_job, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.png").write_bytes(b"kept")
    run(make_job(tmp_path, limit=3))
    run(make_job(tmp_path, limit=1, overwrite=True))
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["000.png", "mine.png"]
    assert [record.image for record in read_records(tmp_path)] == ["000.jpg"]


def test_cancelling_stops_soon_and_can_be_resumed(make_job, undisturbed, tmp_path):
    seen = []
    summary = run(make_job(tmp_path), progress=seen.append, cancelled=lambda: len(seen) > 20)
    assert summary.cancelled
    assert 20 <= summary.done < 60
    assert not (tmp_path / "annotations.json").exists()
    assert [progress.through for progress in seen] == list(range(len(seen)))
    assert {progress.total for progress in seen} == {200}
    assert run(make_job(tmp_path)).resumed == summary.done
    assert_same(tmp_path, undisturbed)


class Counted:
    """A model that notes the shapes of its batches."""

    def __init__(self, model):
        self.model, self.shapes = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def encode_image(self, pixels):
        self.shapes.append(tuple(pixels.shape))
        return self.model.encode_image(pixels)


def test_threads_share_batches_of_one_size(tiny, scene, scene_prompts):
    images = [np.roll(scene.image, i, axis=1)[: 224 - 16 * (i % 2)] for i in range(12)]
    counted = Counted(tiny)
    with BatchedModel(counted, 5) as shared, ThreadPoolExecutor(8) as pool:
        segmenter = Segmenter(shared, whole=True)
        segmenter.phrases = Segmenter(tiny).phrases
        results = list(pool.map(lambda image: segmenter.segment(image, scene_prompts), images))
    assert {shape[0] for shape in counted.shapes} == {5}
    assert len(counted.shapes) < 12
    alone = Segmenter(tiny, whole=True)
    for image, result in zip(images, results, strict=True):
        expected = alone.segment(image, scene_prompts)
        assert np.mean(result.labels == expected.labels) > 0.999


def test_what_goes_wrong_in_a_batch_reaches_its_threads(tiny, scene, scene_prompts):
    class Full(Counted):
        def encode_image(self, pixels):
            raise torch.OutOfMemoryError

    refusal = pytest.raises(ValueError, match=r"7 windows .* give a smaller --batch-size")
    with BatchedModel(Full(tiny), 7) as shared, refusal:
        Segmenter(shared, whole=True).segment(scene.image, scene_prompts)


def test_of_several_records_of_a_picture_the_one_that_says_done_counts(tmp_path):
    first, second = RecordFile(tmp_path), RecordFile(tmp_path)
    named = {"stem": "b", "path": "/b.jpg"}
    first.append([Record(image="b.jpg", status="done", seconds=1, **named)])
    second.append([Record(image="b.jpg", status="failed", error="gone", **named)])
    second.append([Record(image="a.jpg", status="failed", stem="a", path="/a.jpg", error="bad")])
    with second.path.open("ab") as file:
        file.write(b'{"image": "c.jpg", "sta')
    expected = [("a.jpg", "failed"), ("b.jpg", "done")]
    assert [(r.image, r.status) for r in read_records(tmp_path)] == expected
    merge_records(tmp_path)
    assert [path.name for path in (tmp_path / RECORDS).iterdir()] == [MERGED.name]
    assert [(r.image, r.status) for r in read_records(tmp_path)] == expected
