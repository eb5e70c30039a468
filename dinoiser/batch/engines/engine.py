"""Label images in this process or on the workers of a dask cluster."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from dinoiser.batch.engines.shards import describe_here, forget_labeller, label_shards
from dinoiser.batch.job_images import in_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.job_images import JobImage
    from dinoiser.batch.records import Record


class Engine(Protocol):
    """Something that labels images, a shard at a time."""

    @property
    def where(self) -> str:
        """Name of the place, for progress and report."""

    @property
    def dashboard(self) -> str | None:
        """Address of the dask dashboard; None if there is none."""

    def describe(self, job: LabelJob) -> dict[str, Any]:
        """Load the model and describe all that determines the masks, see `describe_job`."""

    def label(
        self,
        job: LabelJob,
        model: dict[str, Any],
        images: Sequence[JobImage],
        cancelled: Callable[[], bool] | None,
    ) -> Iterator[Record]:
        """Label images; yield one record each as they come."""


@contextmanager
def open_engine(
    job: LabelJob,
    download_progress: Callable[[str, int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Iterator[Engine]:
    """Open the engine for `Running.scheduler`, which must not be "auto"."""
    if job.running.scheduler == "sync":
        try:
            yield InProcess(download_progress, cancelled)
        finally:
            forget_labeller()
        return
    from dinoiser.batch.engines.cluster import connect, threads_of_a_worker
    from dinoiser.batch.engines.on_cluster import OnCluster, stop_if

    stop_if(cancelled)  # these imports take seconds
    with connect(job) as client:
        yield OnCluster(client, threads_of_a_worker(job), cancelled)


class InProcess:
    """Labels in this process."""

    where = "this process"
    dashboard: str | None = None

    def __init__(
        self,
        download_progress: Callable[[str, int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._loading = download_progress, cancelled

    def describe(self, job: LabelJob) -> dict[str, Any]:
        """See `Engine`."""
        return describe_here(job, *self._loading)

    def label(
        self,
        job: LabelJob,
        model: dict[str, Any],
        images: Sequence[JobImage],
        cancelled: Callable[[], bool] | None,
    ) -> Iterator[Record]:
        """See `Engine`."""
        shards = in_groups(images, job.running.shard_size)
        yield from label_shards(job, model, shards, cancelled=cancelled)
