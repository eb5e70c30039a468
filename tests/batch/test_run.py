"""Jobs: the same bytes however the work is cut up, and nothing lost when it stops."""

import gc
import os
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from dinoiser.batch import Record, Results, Running, SegmentSettings, export, read_records, run
from dinoiser.batch.engines.label_images import ImageLabeller
from dinoiser.batch.engines.labeller import Labeller
from dinoiser.batch.engines.shared_model import BatchedModel
from dinoiser.batch.job import read_job
from dinoiser.batch.job_images import find_job_images
from dinoiser.batch.records import MERGED, RECORDS, RecordFile, merge_records
from dinoiser.bridges.imports import import_annotations
from dinoiser.bridges.new_job import begin_job
from dinoiser.errors import ClusterError, SettingsError
from dinoiser.models import device
from dinoiser.segment.passes import Passes
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.job_driver import (
    COUNT,
    SETTINGS,
    assert_same,
    command,
    count_lines,
    finish,
    start,
)

OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.85 GB, max allowed: 9.07 GB)."),
)


def test_no_scheduler_at_the_address(make_job, tmp_path, monkeypatch):
    monkeypatch.setattr("dinoiser.batch.engines.cluster.SECONDS_TO_CONNECT", 3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=f"no dask scheduler at {address}"):
        run(make_job(tmp_path, scheduler=address))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"settings": replace(SETTINGS, batch_size=1), "shard_size": 8}, marks=pytest.mark.slow
        ),
        {"settings": replace(SETTINGS, batch_size=16), "shard_size": 64},
        pytest.param(
            {"scheduler": "local", "workers": 1, "shard_size": 64}, marks=pytest.mark.slow
        ),
        pytest.param({"scheduler": "local", "workers": 2, "shard_size": 8}, marks=pytest.mark.slow),
    ],
    ids=["batch 1, shard 8", "batch 16, shard 64", "1 worker, shard 64", "2 workers, shard 8"],
)
def test_the_same_bytes_however_the_work_is_cut_up(make_job, undisturbed, tmp_path, changes):
    run(make_job(tmp_path, **changes))
    assert_same(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_full_disk_stops_the_job_and_leaves_nothing_half_written(images, undisturbed, tmp_path):
    """A limit on the size of files stands in for the disk: writing fails in the same place."""
    resource = pytest.importorskip("resource", reason="limits are POSIX's")

    def few_bytes():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    # in this process: a cluster's certificates alone are larger
    arguments = command(images, tmp_path, "-f", "overlay", "--scheduler", "sync")
    # bytecode that was cut short would stay, and break every later start
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = start(arguments, preexec_fn=few_bytes, env=env)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Cannot write" in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*.part"))
    for path in tmp_path.rglob("*.jpg"):
        with Image.open(path) as preview:
            preview.load()
    assert count_lines(tmp_path) < COUNT
    finish(images, tmp_path)
    assert_same(tmp_path, undisturbed)


def test_a_format_that_is_asked_for_later_needs_no_model(make_job, undisturbed, tmp_path):
    run(make_job(tmp_path, formats=("png",)))
    assert not (tmp_path / "annotations.json").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("masks/*.png")}
    summary = run(make_job(tmp_path, formats=("png", "coco")))
    assert summary.resumed == COUNT
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("masks/*.png")}
    assert_same(tmp_path, undisturbed)


def test_a_mask_that_is_gone_is_made_again(make_job, undisturbed, tmp_path):
    run(make_job(tmp_path))
    (tmp_path / "masks" / "123.png").unlink()
    assert run(make_job(tmp_path)).resumed == COUNT - 1
    assert_same(tmp_path, undisturbed)


def test_overwriting_removes_what_the_job_made_and_nothing_else(make_job, tmp_path):
    run(make_job(tmp_path, limit=3))
    (tmp_path / "masks" / "mine.png").write_bytes(b"kept")
    run(make_job(tmp_path, limit=1, overwrite=True))
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["000.png", "mine.png"]
    assert [record.image for record in read_records(tmp_path)] == ["000.jpg"]


def test_cancelling_stops_soon_and_can_be_resumed(make_job, undisturbed, tmp_path):
    seen, one_by_one = [], make_job(tmp_path, settings=replace(SETTINGS, batch_size=1))
    with device.one_thread():  # two threads: four images are given out at a time
        summary = run(one_by_one, progress=seen.append, cancelled=lambda: len(seen) > 20)
    assert summary.cancelled
    assert 20 <= summary.done < 24
    assert not (tmp_path / "annotations.json").exists()
    assert [progress.through for progress in seen] == list(range(len(seen)))
    assert {progress.total for progress in seen} == {COUNT}
    assert run(make_job(tmp_path)).resumed == summary.done
    assert_same(tmp_path, undisturbed)


def test_images_that_wait_for_a_thread_are_not_begun_after_cancelling(
    make_job, tmp_path, tiny, monkeypatch
):
    job = make_job(tmp_path, settings=replace(SETTINGS, batch_size=1))
    labeller = Labeller(job, tiny, RecordFile(tmp_path), threads=1)  # and one for the disk
    begun, told, taken_back, original = [], [], threading.Event(), ImageLabeller.label

    def held(self, images, records):
        begun.append(images)
        assert taken_back.wait(60)
        return original(self, images, records)

    def cancelled():
        told.append(len(told) >= 4 and len(begun) >= 2)  # each thread has one, and two wait
        if sum(told) == 3:  # the first ended the submitting, the second took back what waits
            taken_back.set()
        return told[-1]

    monkeypatch.setattr(ImageLabeller, "label", held)
    found = list(labeller.label(find_job_images(job), cancelled))
    assert [record.status for record in found] == ["done", "done"]
    assert len(begun) == 2


class InStep:
    """A model whose tower answers once several threads ask it at a time."""

    def __init__(self, model, threads):
        self._model = model
        self._meeting = threading.Barrier(threads, timeout=20)

    def __getattr__(self, name):
        return getattr(self._model, name)

    def encode_image(self, pixels):
        self._meeting.wait()
        return self._model.encode_image(pixels)


def test_as_many_threads_are_at_work_as_torch_has(make_job, tmp_path, tiny):
    job = make_job(tmp_path, settings=replace(SETTINGS, batch_size=1))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        labeller = Labeller(job, InStep(tiny, 3), RecordFile(tmp_path))
        found = list(labeller.label(find_job_images(job)[:6]))
    finally:
        torch.set_num_threads(before)
    assert [record.status for record in found] == ["done"] * 6, found


@pytest.fixture
def heap_not_frozen():
    """All objects in the reach of the garbage collector, whatever other tests spare it."""
    spared = gc.get_freeze_count()
    gc.unfreeze()
    yield
    if spared:
        gc.collect()
        gc.freeze()


def test_garbage_is_searched_for_as_before_once_a_job_ends(make_job, tmp_path, heap_not_frozen):
    run(make_job(tmp_path, limit=2))
    assert gc.get_freeze_count() == 0


def test_a_job_that_cannot_begin_leaves_torch_and_the_heap_as_they_were(
    make_job, tmp_path, tiny, heap_not_frozen
):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        labeller = Labeller(make_job(tmp_path), tiny, RecordFile(tmp_path), threads=-1)
        with pytest.raises(ValueError, match="must be >= 0"):
            list(labeller.label([]))
        assert (torch.get_num_threads(), gc.get_freeze_count()) == (2, 0)
    finally:
        torch.set_num_threads(threads)


def test_a_job_goes_on_in_the_number_format_that_its_first_run_chose(
    make_job, tmp_path, monkeypatch
):
    monkeypatch.setattr(device, "bfloat16_speed", lambda: 0.5)
    run(make_job(tmp_path, precision="auto", limit=1))
    monkeypatch.setattr(device, "bfloat16_speed", lambda: 2.0)
    summary = run(make_job(tmp_path, precision="auto", limit=2))
    assert (summary.resumed, summary.done) == (1, 2)
    assert read_job(tmp_path)["model"]["precision"] == "float32"


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
    with BatchedModel(counted, Passes(5)) as shared, ThreadPoolExecutor(8) as pool:
        pipeline = replace(Segmenter(tiny, whole=True).pipeline, tower=shared.encode)

        def label(image):
            with shared.producing():
                return pipeline.segment([image], scene_prompts)[0]

        results = list(pool.map(label, images))
    assert {shape[0] for shape in counted.shapes} == {5}
    assert len(counted.shapes) < 12
    alone = Segmenter(tiny, whole=True)
    for image, result in zip(images, results, strict=True):
        expected = alone.segment(image, scene_prompts)
        assert np.mean(result.labels == expected.labels) > 0.999


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_what_goes_wrong_in_a_batch_reaches_its_threads(tiny, scene, scene_prompts, error):
    class Full(Counted):
        def encode_image(self, pixels):
            raise error

    refusal = pytest.raises(ValueError, match=r"7 windows .* choose a smaller --batch-size")
    with BatchedModel(Full(tiny), Passes(7)) as shared, refusal:
        pipeline = replace(Segmenter(tiny, whole=True).pipeline, tower=shared.encode)
        pipeline.segment([scene.image], scene_prompts)


def test_of_several_records_of_an_image_the_one_that_says_done_counts(tmp_path):
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


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(make_job, tmp_path):
    folder, used, process = tmp_path / "images", {}, psutil.Process()
    folder.mkdir()
    Image.new("RGB", (32, 32), "red").save(folder / "00000.png")
    for i in range(1, 20_000):
        os.link(folder / "00000.png", folder / f"{i:05}.png")

    def note(progress):
        used[progress.step, progress.through] = process.memory_info().rss

    settings = SegmentSettings(whole=True)
    job = replace(make_job(tmp_path / "out", settings=settings, report=True), inputs=(folder,))
    assert run(job, progress=note).done == 20_000
    for step in ("label", "export"):
        more = used[step, 20_000] - used[step, 5_000]
        assert more < 15_000 * 2_000  # bytes an image, whose pixels alone have 3072


# pycocotools' own, with a numpy newer than it
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_folders_and_files_may_be_given_by_their_names(make_job, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "job")
    name = str(tmp_path / "job")
    assert run(make_job(name)).resumed == COUNT
    assert export(name, ["coco"]) == {}
    masks = str(tmp_path / "job" / "masks")
    assert len(import_annotations(name, [masks]).changes) == COUNT
    images = str(make_job(name).inputs[0])
    assert len(begin_job(str(tmp_path / "new"), images, [name + "/annotations.json"]).changes) > 0


@pytest.mark.parametrize("value", ["2", 2.5, 0, True])
@pytest.mark.parametrize("name", ["workers", "limit", "shard_size"])
def test_numbers_that_count_nothing_are_named(name, value):
    with pytest.raises(SettingsError, match=f"{name} is {value!r}, expected a whole number"):
        Running(**{name: value})


def test_formats_as_one_text_are_refused_with_the_cure(undisturbed):
    for give in (lambda: Results(formats="coco"), lambda: export(undisturbed, "coco")):
        with pytest.raises(SettingsError, match=r"the text 'coco', expected .*\('coco',\)"):
            give()
