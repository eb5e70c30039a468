"""Label on the workers of a dask cluster, any of which may die."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dinoiser.batch.engines.cluster import SHARDS_UNDER_WAY
from dinoiser.batch.engines.label_images import failed_record
from dinoiser.batch.engines.same_files import check_same_files, read_mark
from dinoiser.batch.engines.shards import (
    Shard,
    describe_here,
    label_shards,
    next_shard,
    split_shard,
)
from dinoiser.batch.records import Record, RecordFile
from dinoiser.errors import ClusterError, DinoiserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distributed import Client, Future

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.job_images import JobImage

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_BETWEEN_COUNTS = 1
"""How often the scheduler is asked for its workers, which takes 4 ms of processor time."""
SECONDS_TO_START = 60
SHARDS_AHEAD = 2
"""Shards submitted per shard under way, so that no worker waits for the client."""
KILLER = (
    "the process that labelled it was killed twice (out of memory, or its decoder crashed); "
    "shrink the image or save it in another format"
)

_log = logging.getLogger(__name__)


class OnCluster:
    """Labels on the workers of a dask cluster; if any have the resource GPU, only on those.

    Parameters
    ----------
    client
        A client connected to the scheduler.
    threads
        See `Labeller`; None for the worker's own number.
    cancelled
        See `run`; asked while a worker loads the model.
    """

    def __init__(
        self,
        client: Client,
        threads: int | None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.client = client
        self.threads = threads
        self._cancelled = cancelled
        self.dashboard: str | None = client.dashboard_link
        self._address = client.scheduler_info()["address"]
        # a share each, as several shards are needed to fill batches
        share = {"GPU": 1 / SHARDS_UNDER_WAY["cuda"]}
        self._resources = share if client.run_on_scheduler(_has_gpus) else None
        self._workers = len(client.nthreads())

    @property
    def where(self) -> str:
        """See `Engine`."""
        return f"{self._workers} worker{'s' * (self._workers != 1)} at {self._address}"

    def describe(self, job: LabelJob) -> dict[str, Any]:
        """See `Engine`."""
        from distributed import KilledWorker

        task = self._submit(describe_here, job)
        while not task.done():
            stop_if(self._cancelled)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            return _result(task)
        except KilledWorker as error:
            msg = (
                f"Loading {job.labelling.model} kills its worker, probably because memory runs "
                "out; use a machine with more memory, or a smaller model."
            )
            raise ClusterError(msg) from error

    def label(
        self,
        job: LabelJob,
        model: dict[str, Any],
        images: Sequence[JobImage],
        cancelled: Callable[[], bool] | None,
    ) -> Iterator[Record]:
        """See `Engine`.

        A shard whose workers die is divided until the image that kills them is
        found; only that image fails. Its pieces run alone, as a worker that dies
        takes all its shards along.
        """
        mark = read_mark(job)
        news, patience = _News(self.client), _Patience(local=job.running.scheduler == "local")
        # images left to submit, pieces of shards that killed a worker, and running tasks
        todo, again, running = deque(images), deque[Shard](), dict[Any, Shard]()
        under_way, counted = dict[str, int](), -math.inf
        try:
            while not (cancelled and cancelled()):
                # keep each worker supplied with shards
                if time.monotonic() - counted >= SECONDS_BETWEEN_COUNTS:
                    with _cluster_errors():
                        under_way = self.client.nthreads()
                    counted = time.monotonic()
                    self._workers = len(under_way)
                    patience.look(self._workers)
                slots, most = sum(under_way.values()), job.running.shard_size
                room = 1 if again else SHARDS_AHEAD * max(1, slots)
                while len(running) < room:
                    if again:
                        shard = again[0]
                    elif shard := next_shard(todo, most, self._workers, slots):
                        news.expect(shard)
                    else:
                        break
                    task = self._submit(_work, job, model, shard, self.threads, news.topic, mark)
                    running[task] = shard
                if not running:
                    return
                # records arrive before their shards end; a finished shard brings what is missing
                yield from news.read()
                for task in [task for task in running if task.done()]:
                    shard = running.pop(task)
                    if again and shard is again[0]:
                        again.popleft()
                    records, pieces = _finish(job, task, shard)
                    again += pieces
                    yield from news.new(records)
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            news.close()
            with suppress(Exception):  # the scheduler may be gone
                self.client.cancel(list(running), force=True)

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        return self.client.submit(function, *arguments, pure=False, resources=self._resources)


def stop_if(cancelled: Callable[[], bool] | None) -> None:
    """Raise an error if a job is stopped while its cluster or its model is started."""
    if cancelled and cancelled():
        msg = "Stopped before the first image: run the same job again to start it."
        raise ClusterError(msg)


class _Patience:
    """Waits for workers: the user's may be queueing, but ours start in seconds or not at all."""

    def __init__(self, local: bool) -> None:
        self._local = local
        self._last_seen = time.monotonic()
        self._warned = False

    def look(self, workers: int) -> None:
        """Note the current number of workers.

        Raises
        ------
        ClusterError
            The workers of this machine have been missing for too long.
        """
        waited = time.monotonic() - self._last_seen
        if workers:
            self._last_seen, self._warned = time.monotonic(), False
        elif self._local and waited > SECONDS_TO_START:
            msg = (
                "The worker process does not restart; rerun the same command to resume, with "
                "--scheduler sync to see what is wrong."
            )
            raise ClusterError(msg)
        elif waited > SECONDS_TO_START and not self._warned:
            self._warned = True
            _log.warning("The scheduler has no workers; waiting for some. Press Ctrl-C to stop.")


class _News:
    """Records as the workers write them, before their shards end; each is passed on once."""

    def __init__(self, client: Client) -> None:
        # a topic per run, so that runs on the same scheduler do not get each other's records
        self.topic = f"dinoiser-{uuid4().hex}"
        self._client = client
        self._events: SimpleQueue[str] = SimpleQueue()
        self._expected: set[str] = set()
        client.subscribe_topic(self.topic, lambda event: self._events.put(event[1]))

    def expect(self, shard: Shard) -> None:
        """Expect the images of a new shard."""
        self._expected.update(image.name for image in shard)

    def new(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records that were not passed on yet."""
        # a shard that is run again, or divided, reports images twice
        for record in records:
            if record.image in self._expected:
                self._expected.discard(record.image)
                yield record

    def read(self) -> Iterator[Record]:
        """Yield the records that came since the last call."""
        with suppress(Empty):
            while True:
                yield from self.new([Record.model_validate_json(self._events.get_nowait())])

    def close(self) -> None:
        """Stop listening."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.unsubscribe_topic(self.topic)


def _work(
    job: LabelJob,
    model: dict[str, Any],
    shard: Shard,
    threads: int | None,
    topic: str,
    mark: bytes | None,
) -> list[Record]:
    """Label a shard on a worker; no further images once the client has given the task up."""
    from distributed import get_worker

    check_same_files(job, shard, mark)
    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]
    threads = threads or worker.state.nthreads
    records = []
    for record in label_shards(job, model, [shard], threads, lambda: task.state == "cancelled"):
        worker.log_event(topic, record.model_dump_json())
        records.append(record)
    return records


def _finish(job: LabelJob, task: Future, shard: Shard) -> tuple[list[Record], list[Shard]]:
    """Return the records of a finished shard, or the shards to try instead."""
    from distributed import KilledWorker

    try:
        return _result(task), []
    except KilledWorker:  # dask's answer after a second worker died with this task
        if len(shard) > 1:
            return [], split_shard(shard)
    # a single image: it is to blame
    records = [failed_record(shard[0], KILLER)]
    RecordFile(job.output).append(records)
    return records, []


def _result(task: Future) -> Any:
    """Return a task's result; any error that is not ours counts as one of the cluster."""
    from distributed import KilledWorker

    try:
        with _cluster_errors():
            return task.result()
    except (DinoiserError, KilledWorker):
        raise
    except Exception as error:
        msg = (
            f"A worker cannot do the work ({type(error).__name__}: {error}); it needs the same "
            "version of napari-dinoiser as this machine."
        )
        raise ClusterError(msg) from error


@contextmanager
def _cluster_errors() -> Iterator[None]:
    """Raise our own error if the scheduler is gone."""
    try:
        yield
    except DinoiserError:
        raise
    except (CancelledError, OSError) as error:  # dask's CommClosedError is an OSError
        msg = "The dask scheduler is gone; restart it, and rerun the same command to resume."
        raise ClusterError(msg) from error


def _has_gpus(dask_scheduler: Any) -> bool:
    return any("GPU" in worker.resources for worker in dask_scheduler.workers.values())
