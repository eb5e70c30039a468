"""Shards: groups of a few images, each labelled by one process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dinoiser.batch.engines.labeller import Labeller, silent_decoders
from dinoiser.batch.job import describe_job, dtype_name
from dinoiser.batch.job_images import JobImage, in_groups
from dinoiser.batch.records import RecordFile
from dinoiser.errors import ClusterError
from dinoiser.images import read_size
from dinoiser.models.device import PRECISIONS
from dinoiser.models.load import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.records import Record
    from dinoiser.models.base import SegmentationModel

NAMES = {str(dtype).removeprefix("torch."): name for name, dtype in PRECISIONS.items()}
Shard = tuple[JobImage, ...]

# a user's dask worker may have several threads, but there is one model per process
_one_at_a_time = threading.Lock()


def split_shard(shard: Shard) -> list[Shard]:
    """Divide a shard that killed a process into at most eight, to find the image at fault."""
    return list(in_groups(shard, -(-len(shard) // 8)))  # rounded up


def describe_here(
    job: LabelJob,
    download_progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Load the job's model into this process and describe all that determines the masks."""
    with _one_at_a_time:
        model = load_model(
            job.labelling.model,
            job.running.device,
            job.labelling.precision,
            heads=job.labelling.heads,
            progress=download_progress,
            cancelled=cancelled,
        )
        labeller = Labeller(job, model, RecordFile(job.output))
        _kept[:] = [labeller]
        return describe_job(job.labelling, labeller.pipeline)


def label_shard(
    job: LabelJob,
    model: dict[str, Any],
    shard: Shard,
    threads: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Record]:
    """Label a shard in this process, reusing the labeller of earlier shards.

    Images of the same size are grouped, so that their windows share batches.
    Only one shard at a time is labelled; other threads of the process wait.

    Parameters
    ----------
    job
        The job.
    model
        The description of the model in job.yaml.
    shard
        The images.
    threads
        See `Labeller`.
    cancelled
        See `Labeller.label`.

    Yields
    ------
    Record
        One per image, in any order, as soon as it is on disk.
    """
    with _one_at_a_time, silent_decoders():
        labeller = _labeller(job, model, threads)
        # within a size by name, so that the order of the shard does not matter
        by_size = sorted(shard, key=lambda image: (read_size(image.path), image.name))
        yield from labeller.label(by_size, cancelled)


def forget_labeller() -> None:
    """Discard the labeller that this process keeps for the next shard."""
    _kept.clear()


_kept: list[Labeller] = []
"""The labeller of the latest shard; loading its model takes as long as many images."""


def _labeller(job: LabelJob, expected: dict[str, Any], threads: int | None) -> Labeller:
    """Return a job's labeller; make sure that its model is the one the job began with."""
    wanted = (expected["name"], expected["digest"], expected["precision"])
    earlier = next((kept for kept in _kept if _identity(kept.pipeline.model) == wanted), None)
    if earlier and (earlier.job, earlier.threads) == (job, threads):
        return earlier
    # another job or thread count: keep the model if it is the same, make a new labeller
    precision = NAMES[expected["precision"]]
    what = job.labelling
    model = (
        earlier.pipeline.model
        if earlier
        else load_model(what.model, job.running.device, precision, heads=what.heads)
    )
    # all workers must have the weights that job.yaml records
    if _identity(model) != wanted:
        msg = (
            f"This worker's weights of {what.model} differ from those that the job began with "
            f"(digest {model.digest}, expected {wanted[1]}); give all workers the same files."
        )
        raise ClusterError(msg)
    _kept[:] = [Labeller(job, model, RecordFile(job.output), threads)]
    return _kept[0]


def _identity(model: SegmentationModel) -> tuple[str, str | None, str]:
    return model.name, model.digest, dtype_name(model)
