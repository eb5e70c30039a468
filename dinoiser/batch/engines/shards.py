"""Shards: a few images that a process labels in one go."""

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

_one_at_a_time = threading.Lock()


def split_shard(shard: Shard) -> list[Shard]:
    """Cut a shard that cost a process its life into at most eight, to find the culprit."""
    return list(in_groups(shard, -(-len(shard) // 8)))


def describe_here(
    job: LabelJob,
    download_progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Load the job's model into this process and say all that decides the pixels."""
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
        return describe_job(job.prompts, labeller.pipeline)


def label_shard(
    job: LabelJob,
    model: dict[str, Any],
    shard: Shard,
    threads: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Record]:
    """Label a shard in this process, with the labeller of the shards before.

    Images of one size come together, so that their windows share batches.
    Only one shard at a time has the process; threads of the same process wait.

    Parameters
    ----------
    job
        What to do.
    model
        What job.yaml says of the model.
    shard
        The images.
    threads
        See `Labeller`.
    cancelled
        See `Labeller.label`.

    Yields
    ------
    Record
        One an image, in any order, each when it is on the disk.
    """
    with _one_at_a_time, silent_decoders():
        labeller = _labeller(job, model, threads)
        by_size = sorted(shard, key=lambda image: (read_size(image.path), image.name))
        yield from labeller.label(by_size, cancelled)


def forget_labeller() -> None:
    """Let go of the labeller that this process keeps for the next shard."""
    _kept.clear()


_kept: list[Labeller] = []
"""The labeller of the latest shard: loading its model takes as long as many images."""


def _labeller(job: LabelJob, expected: dict[str, Any], threads: int | None) -> Labeller:
    """Give a job's labeller, and make sure that its model is the one that the job began with."""
    wanted = (expected["name"], expected["digest"], expected["precision"])
    earlier = next((kept for kept in _kept if _identity(kept.pipeline.model) == wanted), None)
    if earlier and (earlier.job, earlier.threads) == (job, threads):
        return earlier
    precision = NAMES[expected["precision"]]
    what = job.labelling
    model = (
        earlier.pipeline.model
        if earlier
        else load_model(what.model, job.running.device, precision, heads=what.heads)
    )
    if _identity(model) != wanted:
        msg = (
            f"This worker's weights of {what.model} are others than those that the job began with "
            f"(digest {model.digest}, expected {wanted[1]}); give every worker the same files."
        )
        raise ClusterError(msg)
    _kept[:] = [Labeller(job, model, RecordFile(job.output), threads)]
    return _kept[0]


def _identity(model: SegmentationModel) -> tuple[str, str | None, str]:
    return model.name, model.digest, dtype_name(model)
