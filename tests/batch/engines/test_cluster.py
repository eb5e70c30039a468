"""Clusters on which nobody but their owner may run code."""

import asyncio
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from itertools import count

import numpy as np
import pytest
from distributed import Client, Event
from distributed.comm import connect as knock
from distributed.security import Security

from dinoiser.batch import run
from dinoiser.batch.engines import cluster
from dinoiser.batch.engines.cluster import connect, threads_of_a_worker
from dinoiser.batch.engines.on_cluster import OnCluster
from dinoiser.batch.folder import open_folder
from dinoiser.batch.job_images import search_inputs
from dinoiser.batch.stock import take_stock
from dinoiser.errors import ClusterError
from dinoiser.prompts import PromptSet
from tests.helpers.job_driver import command, draw_folder, job_of
from tests.helpers.places import ROOT


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    job = job_of((folder,), folder / "out", PromptSet.parse("dog"), scheduler="local", workers=1)
    with connect(job) as client:
        client.wait_for_workers(1, timeout=120)
        yield client


def test_its_owner_runs_code_in_another_process(client):
    assert client.submit(os.getpid).result(timeout=60) != os.getpid()


def faults_of_temporary_arrays():
    """Count the pages that the system clears for 50 arrays of 1 MB, after the first few."""
    import resource

    for i in range(60):
        if i == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are not told")
def test_a_worker_uses_the_memory_of_temporary_arrays_again(client):
    # a page has 4 KB; the first few arrays are not counted
    assert client.submit(faults_of_temporary_arrays).result(timeout=60) < 50 * 256 / 4


@pytest.mark.slow
def test_a_worker_takes_no_more_images_of_a_shard_once_the_run_is_stopped(client, tmp_path):
    images = draw_folder(tmp_path / "images", 100)
    prompts, running = PromptSet.parse("red circle"), {"scheduler": "local", "shard_size": 100}
    job = job_of((images,), tmp_path / "out", prompts, **running)
    engine, seen = OnCluster(client, 1), []
    job.output.mkdir()
    todo = take_stock(job, search_inputs(job)).todo
    description = engine.describe(job)
    open_folder(job, description)
    for record in engine.label(job, description["model"], todo, lambda: bool(seen)):
        seen.append(record)
    ((worker, threads),) = client.nthreads().items()
    assert threads == 2
    while client.processing(workers=[worker])[worker] or client.run(is_busy)[worker]:
        time.sleep(0.1)
    assert 0 < len(list((tmp_path / "out" / "masks").iterdir())) < len(todo)


def test_a_run_can_be_stopped_while_a_worker_loads_the_model(client, tmp_path):
    job = job_of((tmp_path,), tmp_path / "out", PromptSet.parse("red circle"), scheduler="local")
    questions = count()
    engine = OnCluster(client, 1, cancelled=lambda: next(questions) == 0)
    go = Event("go", client)
    with client.get_executor(pure=False) as other_work:
        held_up = [other_work.submit(wait_for, "go") for _ in range(2)]
        with pytest.raises(ClusterError, match="Stopped before the first image: run the same job"):
            engine.describe(job)
        assert not any(work.done() for work in held_up)
        go.set()


def wait_for(name):
    assert Event(name).wait(60)


def test_a_run_that_is_stopped_before_its_first_image_leaves_no_job(tmp_path):
    images = draw_folder(tmp_path / "images", 1)
    job = job_of((images,), tmp_path / "out", PromptSet.parse("red circle"), scheduler="local")
    with pytest.raises(ClusterError, match="Stopped before the first image"):
        run(job, cancelled=lambda: True)
    assert [path.name for path in job.output.iterdir()] == [".lock"]


def is_busy(dask_worker):
    return bool(dask_worker.state.executing)


@pytest.mark.parametrize("security", [None, Security.temporary()], ids=["none", "another"])
def test_a_client_without_its_certificate_is_refused(client, security):
    address = client.scheduler.address
    if security is None:
        address = address.replace("tls://", "tcp://")
    with pytest.raises(OSError, match=r"Timed out|refused|closed|TLS|certificate"):
        Client(address, security=security, timeout=5, set_as_default=False)


def test_workers_and_nannies_do_not_listen_to_strangers_either(client):
    workers = client.scheduler_info()["workers"]
    addresses = {*workers, *(worker["nanny"] for worker in workers.values())}
    assert len(addresses) == 2
    for address in addresses:
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises(OSError, match=r"Timed out|refused|closed"):
            asyncio.run(knock(address.replace("tls://", "tcp://"), timeout=5))


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_cluster_secured_as_the_docs_say(images, tmp_path):
    page = (ROOT / "docs/how-to/folders.md").read_text()
    make_certificate = re.search(r"```sh\n(openssl .*?)```", page, re.DOTALL)[1]
    subprocess.run(make_certificate, shell=True, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "dask").mkdir()
    config = re.search(r"```yaml\n(distributed:.*?)```", page, re.DOTALL)[1]
    (tmp_path / "dask" / "tls.yaml").write_text(config.replace("/shared", str(tmp_path)))
    secured = {**os.environ, "DASK_CONFIG": str(tmp_path / "dask")}

    port = free_port()
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = [*dask, "scheduler", "--protocol", "tls", "--port", str(port), *local]
    worker = [*dask, "worker", f"tls://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny", *local]
    started = [subprocess.Popen(each, env=secured, **quiet) for each in (scheduler, worker)]
    try:
        label = command(images, tmp_path / "out", "--limit", "4", "--scheduler")
        said = subprocess.run(
            [*label, f"tls://127.0.0.1:{port}"], env=secured, capture_output=True, text=True
        )
        assert said.returncode == 0, said.stderr
        assert "4 of 4 images labelled" in said.stdout
        with pytest.raises(OSError, match=r"Timed out|refused|closed"):
            Client(f"tcp://127.0.0.1:{port}", timeout=5, set_as_default=False)
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("cores", "gigabytes", "expected"),
    [(1, 64, 1), (2, 16, 2), (2, 12, 1), (4, 64, 4), (8, 16, 2), (16, 128, 4), (2, 4, 1)],
)
def test_a_cpu_has_as_many_workers_as_its_cores_and_memory_allow(
    cores, gigabytes, expected, monkeypatch, tmp_path
):
    monkeypatch.setattr("dinoiser.batch.engines.cluster.CPU_COUNT", cores)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", gigabytes * 2**30)
    job = job_of((tmp_path,), tmp_path / "out", PromptSet.parse("dog"), scheduler="local")
    assert threads_of_a_worker(job) == cores // expected


@pytest.mark.parametrize(
    ("shown", "expected"), [(None, ["0", "1", "0"]), ("2,3", ["2", "3", "2"]), ("GPU-5f, 1", None)]
)
def test_workers_take_only_gpus_that_the_user_lets_cuda_see(shown, expected, monkeypatch, tmp_path):
    if shown is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.setattr(cluster, "available_devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    job = job_of((tmp_path,), tmp_path / "out", PromptSet.parse("dog"), device="auto")
    given = [cluster._worker_options(job, i, 3)["env"]["CUDA_VISIBLE_DEVICES"] for i in range(3)]
    assert given == (expected or ["GPU-5f", "1", "GPU-5f"])
