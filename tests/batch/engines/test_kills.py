"""Jobs: whatever is killed, the same command again gives what an undisturbed run gives."""

import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from dinoiser.batch import run
from tests.helpers.job_driver import (
    COUNT,
    assert_same,
    command,
    count_lines,
    draw_folder,
    finish,
    kill_client_at_random,
    kill_group,
    kill_worker_at_random,
    start,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")


def test_a_kill_leaves_what_an_undisturbed_run_leaves(images, undisturbed, tmp_path):
    kill_and_compare(1, images, COUNT, undisturbed, tmp_path)


@pytest.mark.slow
def test_twenty_kills_leave_what_an_undisturbed_run_leaves(make_job, tmp_path):
    images = draw_folder(tmp_path / "images", 5 * COUNT)  # enough for twenty runs
    run(replace(make_job(tmp_path / "undisturbed"), inputs=(images,)))
    kill_and_compare(20, images, 5 * COUNT, tmp_path / "undisturbed", tmp_path / "out")


def kill_and_compare(kills, images, count, undisturbed, tmp_path):
    moments = random.Random(5)
    for kill in range(kills):
        scheduler = "local" if kill % 5 == 4 else "sync"
        arguments = command(images, tmp_path, "--scheduler", scheduler)
        if kill % 10 == 9:
            process = start(arguments)
            kill_worker_at_random(process, tmp_path, moments)
            kill_group(process)
        else:
            kill_client_at_random(arguments, tmp_path, moments)
    assert kills < count_lines(tmp_path) < count
    finish(images, tmp_path)
    assert_same(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_nothing_is_lost(images, undisturbed, tmp_path):
    process = start(command(images, tmp_path, "--scheduler", "local", "--workers", "2"))
    moments = random.Random(1)
    for _ in range(2):
        kill_worker_at_random(process, tmp_path, moments)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert f"{COUNT} of {COUNT} images labelled" in said
    assert_same(tmp_path, undisturbed)


CRASHING_DECODER = """
import os, signal
import dinoiser.batch.engines.label_images as label_images

read_with_missing = label_images.read_with_missing

def crash(path, **settings):
    if path.name == "007.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    return read_with_missing(path, **settings)

def dask_setup(worker):
    label_images.read_with_missing = crash
"""


@pytest.mark.slow
def test_the_one_image_that_kills_its_worker_is_found(images, undisturbed, tmp_path):
    (tmp_path / "crash.py").write_text(CRASHING_DECODER)
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "crash.py")}
    out = tmp_path / "out"
    arguments = command(images, out, "--scheduler", "local", "--limit", "40")
    process = start(arguments, env={**os.environ, **preload})
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "39 of 40 images labelled" in said
    assert said.count("007.jpg: the process that labelled it was killed twice") == 1
    for stem in ("006", "008", "039"):
        mask = f"masks/{stem}.png"
        assert (out / mask).read_bytes() == (undisturbed / mask).read_bytes()


STOPS = [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]


@contextmanager
def own_cluster(folder, workers, start_worker=()):
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
        subprocess.Popen([*start_worker, *dask, "worker", address, *options], **quiet)
        for _ in range(workers)
    ]
    try:
        yield address, scheduler, started
    finally:
        for process in [*started, scheduler]:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker(images, undisturbed, tmp_path):
    out = tmp_path / "out"
    with own_cluster(tmp_path, 2) as (address, _, workers):
        process = start(command(images, out, "--scheduler", address))
        wait_until(lambda: count_lines(out) > 10 or process.poll() is not None, "progress")
        workers[0].kill()
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert_same(out, undisturbed)


@pytest.mark.slow
def test_a_cluster_that_loses_its_scheduler(images, undisturbed, tmp_path):
    out = tmp_path / "out"
    with own_cluster(tmp_path, 1) as (address, scheduler, _):
        process = start(command(images, out, "--scheduler", address))
        wait_until(lambda: count_lines(out) > 10 or process.poll() is not None, "progress")
        scheduler.kill()
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "rerun the same command to resume" in errors[0]
    assert "Traceback" not in said
    finish(images, out)
    assert_same(out, undisturbed)


HIDES = "unshare -rm true 2> /dev/null"


@pytest.mark.slow
@pytest.mark.skipif(os.system(HIDES) != 0, reason="needs a file system that others do not see")
def test_a_worker_that_does_not_see_the_images_stops_the_job(images, tmp_path):
    label = command(images, tmp_path / "out", "--limit", "4")
    hiding = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs none "{images}" && exec "$@"', "sh"]
    with own_cluster(tmp_path, 1, hiding) as (address, *_):
        process = start([*label, "--scheduler", address])
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 2, said
    [error] = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert "does not see" in error
    # none of them has failed: the same command labels them where they are seen
    said, _ = start(label).communicate(timeout=240)
    assert "4 of 4 images labelled" in said


@pytest.mark.slow
def test_sigterm_in_the_background_of_a_script(images, undisturbed, tmp_path):
    # a shell lets its background processes ignore SIGINT
    in_background = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    process = start([*in_background, *command(images, tmp_path, "--scheduler", "sync")])
    wait_until(lambda: count_lines(tmp_path) > 10 or process.poll() is not None, "progress")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # `timeout` sends two
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == "Error: Stopped. Run the same command again to resume."
    assert "Traceback" not in said
    assert 0 < count_lines(tmp_path) < COUNT
    assert not list(tmp_path.rglob("*.part"))
    finish(images, tmp_path)
    assert_same(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), STOPS)
def test_ctrl_c_and_sigterm_on_a_local_cluster(images, undisturbed, tmp_path, stop, code):
    process = start(command(images, tmp_path, "--scheduler", "local"))
    wait_until(lambda: count_lines(tmp_path) > 10 or process.poll() is not None, "progress")
    os.killpg(process.pid, stop)  # a terminal and SLURM send it to all processes of the group
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "Run the same command again" in said
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
    assert 0 < count_lines(tmp_path) < COUNT
    finish(images, tmp_path)
    assert_same(tmp_path, undisturbed)
