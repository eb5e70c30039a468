"""Dask clusters: one on this machine, or the user's running scheduler."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import dask
from dask.system import CPU_COUNT

from dinoiser.errors import ClusterError
from dinoiser.models.device import available_devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from dinoiser.batch.job import LabelJob

SECONDS_TO_CONNECT = 30
SHARDS_UNDER_WAY = {"cpu": 2, "cuda": 6}
"""Shards at a time in a process, whose labeller has threads of its own: the next one begins before
the last images of the one before are done, and on a GPU several are needed to fill batches."""
MEMORY = {"MALLOC_TRIM_THRESHOLD_": 2**29, "MALLOC_MMAP_MAX_": 0, "MALLOC_ARENA_MAX": 1}
"""For glibc: the memory of arrays stays with the process. By default it goes back to the system,
which clears it again for the next one: that of large arrays at once, and of others beyond what
nannies (64 KB) or the arenas of threads (64 MB each) keep."""
MEMORY_OF_A_WORKER = 8 * 2**30
"""What the machine must have for each worker on a CPU, so that one can still hold a huge image."""
PRELOAD = "dinoiser.batch.engines.worker_preload"


@contextmanager
def connect(job: LabelJob) -> Iterator[Client]:
    """Connect to the job's scheduler; if it is "local", start one on this machine.

    Raises
    ------
    ClusterError
        There is no scheduler at the address.
    """
    from distributed import Client

    if job.running.scheduler == "local":
        with ExitStack() as stack:
            try:
                cluster = stack.enter_context(_local_cluster(job))
                client = stack.enter_context(Client(cluster))
            except (OSError, RuntimeError) as error:
                msg = f"The worker processes do not start ({error}); use --scheduler sync."
                raise ClusterError(msg) from error
            yield client
        return
    try:
        client = Client(job.running.scheduler, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError, TimeoutError) as error:
        msg = (
            f"There is no dask scheduler at {job.running.scheduler} ({error}); start one with "
            "`dask scheduler`, or omit --scheduler to run on this machine."
        )
        raise ClusterError(msg) from error
    try:
        with _quiet_when_lost():
            yield client
    finally:
        client.close(timeout=5)


@contextmanager
def _quiet_when_lost() -> Iterator[None]:
    """Suppress the tracebacks that pending requests print when the scheduler is lost."""
    loud: list[logging.Logger | logging.Handler] = [logging.getLogger("asyncio")]
    loud += logging.getLogger("distributed").handlers
    levels = [one.level for one in loud]
    for one in loud:
        one.setLevel(logging.CRITICAL)
    yield  # not restored after an error: tracebacks may still follow at exit
    for one, level in zip(loud, levels, strict=True):
        one.setLevel(level)


def threads_of_a_worker(job: LabelJob) -> int | None:
    """Images at a time in a local worker; None means the threads of the user's own workers."""
    return max(1, CPU_COUNT // _local_workers(job)) if job.running.scheduler == "local" else None


@contextmanager
def _local_cluster(job: LabelJob) -> Iterator[Any]:
    """One process per GPU, or a few on a CPU, each with a nanny that restarts it.

    Whoever connects to a scheduler can run code as its owner. So only holders of this
    cluster's certificate, which stays in memory, are let in: not the machine's other users.
    """
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.security import Security

    count = _local_workers(job)
    security = Security.temporary()
    place = {"host": "127.0.0.1", "protocol": "tls://", "security": security}
    workers = {
        i: {"cls": Nanny, "options": {**place, **_worker_options(job, i, count)}}
        for i in range(count)
    }
    scheduler = {"cls": Scheduler, "options": {**place, "dashboard_address": "127.0.0.1:0"}}
    config = {
        "distributed.scheduler.allowed-failures": 1,  # a second death is not chance
        "distributed.scheduler.worker-saturation": 1.0,
        # otherwise a nanny that restarts its worker at a bad moment is closed
        "distributed.deploy.lost-worker-timeout": "100 days",
        # for dask's dashboard only, at 3 % of two cores
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in MEMORY.items()},
    }
    with (
        dask.config.set(config),
        SpecCluster(
            workers, scheduler, security=security, silence_logs=logging.CRITICAL
        ) as cluster,
    ):
        yield cluster


def _local_workers(job: LabelJob) -> int:
    if job.running.workers:
        return job.running.workers
    if gpus := _gpus(job):
        return len(gpus)
    on_cpu = job.running.device == "cpu" or available_devices() == ["cpu"]
    return _workers_on_cpu() if on_cpu else 1  # others are Apple's, which have one GPU


def _workers_on_cpu() -> int:
    """Divide the cores among processes as dask does: threads of one wait for each other."""
    from distributed.deploy.utils import nprocesses_nthreads
    from distributed.system import MEMORY_LIMIT

    processes, _ = nprocesses_nthreads(CPU_COUNT)
    return max(1, min(processes, MEMORY_LIMIT // MEMORY_OF_A_WORKER))


def _gpus(job: LabelJob) -> list[int]:
    """GPUs that the job may use, in the order of their numbers."""
    if job.running.device not in ("auto", "cuda"):
        return []
    return [int(name.removeprefix("cuda:")) for name in available_devices() if "cuda:" in name]


def _name_for_cuda(gpu: int) -> str:
    """Name a GPU as CUDA does: torch numbers those that the user lets it see."""
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return seen[gpu].strip() if seen else str(gpu)


def _worker_options(job: LabelJob, number: int, count: int) -> dict[str, Any]:
    gpus, preload = _gpus(job), dask.config.get("distributed.worker.preload")
    on_gpu = bool(gpus) or job.running.device.startswith("cuda")
    env = {"OMP_NUM_THREADS": str(max(1, CPU_COUNT // count))}
    if gpus:
        # set before the process starts, so that torch sees its GPU as cuda:0
        env["CUDA_VISIBLE_DEVICES"] = _name_for_cuda(gpus[number % len(gpus)])
    return {
        "nthreads": SHARDS_UNDER_WAY["cuda" if on_gpu else "cpu"],
        "env": env,
        "memory_limit": 0.9 / count,  # share of the machine's memory
        "preload": [*([preload] if isinstance(preload, str) else preload), PRELOAD],
        "silence_logs": logging.CRITICAL,
    }
