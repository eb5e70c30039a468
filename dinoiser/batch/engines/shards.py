"""Shards: groups of a few images, each labelled by one process."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any

from dinoiser.batch.engines.labeller import Labeller
from dinoiser.batch.job import PRECISIONS, describe_job, dtype_name
from dinoiser.batch.job_images import JobImage, in_groups
from dinoiser.batch.records import RecordFile
from dinoiser.errors import ClusterError
from dinoiser.images import read_size
from dinoiser.models.load import load_model

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.records import Record
    from dinoiser.models.base import SegmentationModel

Shard = tuple[JobImage, ...]


def next_shard(left: deque[JobImage], most: int, workers: int, slots: int) -> Shard:
    """Take the next shard from the images that are left; empty if there are none.

    Several workers get smaller ones towards the end, or else some would have
    nothing to do while others are at their last.

    Parameters
    ----------
    left
        The images that nobody has yet; the shard's are removed.
    most
        The most images of a shard.
    workers, slots
        The workers, and how many shards they label at a time in all.
    """
    size = min(most, ceil(len(left) / (2 * slots))) if workers > 1 else most
    return tuple(left.popleft() for _ in range(min(size, len(left))))


def split_shard(shard: Shard) -> list[Shard]:
    """Divide a shard that killed a process into at most eight, to find the image at fault."""
    return list(in_groups(shard, -(-len(shard) // 8)))  # rounded up


def describe_here(
    job: LabelJob,
    download_progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Load the job's model into this process and describe all that determines the masks."""
    with _gate:
        _wait_until_free()
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


def label_shards(
    job: LabelJob,
    model: dict[str, Any],
    shards: Iterable[Shard],
    threads: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Record]:
    """Label shards in this process, reusing the labeller of earlier ones.

    Images of the same size are grouped, so that their windows share batches.
    Threads of the process that label shards of the same job share a labeller;
    those of another job wait, as there is one model per process.

    Parameters
    ----------
    job
        The job.
    model
        The description of the model in job.yaml.
    shards
        The images. One shard flows into the next: the model does not wait for
        the end of the first.
    threads
        See `Labeller`.
    cancelled
        See `Labeller.label`.

    Yields
    ------
    Record
        One per image, in any order, as soon as it is on disk.
    """
    with _held_labeller(job, model, threads) as labeller:
        yield from labeller.label(chain.from_iterable(map(_by_size, shards)), cancelled)


def forget_labeller() -> None:
    """Discard the labeller that this process keeps for the next shard."""
    _kept.clear()


def _by_size(shard: Shard) -> Shard:
    # within a size by name, so that the order of the shard does not matter
    return tuple(sorted(shard, key=lambda image: (read_size(image.path), image.name)))


# -- The labeller of this process

_kept: list[Labeller] = []
"""The labeller of the latest shard; loading its model takes as long as many images."""
_gate = threading.Lock()
"""Held while a labeller is chosen; whoever waits here lets no later shard pass."""
_free = threading.Condition()
_holders = 0
"""Number of threads that use the labeller; `_free` guards it."""


@contextmanager
def _held_labeller(
    job: LabelJob, expected: dict[str, Any], threads: int | None
) -> Iterator[Labeller]:
    """Give a job's labeller, which is not replaced until the block ends."""
    global _holders
    with _gate:
        labeller = _labeller(job, expected, threads)
        with _free:
            _holders += 1
    try:
        yield labeller
    finally:
        with _free:
            _holders -= 1
            _free.notify_all()


def _wait_until_free() -> None:
    with _free:
        _free.wait_for(lambda: not _holders)


def _labeller(job: LabelJob, expected: dict[str, Any], threads: int | None) -> Labeller:
    """Return a job's labeller; make sure that its model is the one the job began with."""
    wanted = (expected["name"], expected["digest"], expected["precision"])
    earlier = next((kept for kept in _kept if _identity(kept.pipeline.model) == wanted), None)
    if earlier and (earlier.job, earlier.threads) == (job, threads):
        return earlier
    # another job or thread count: keep the model if it is the same, make a new labeller
    _wait_until_free()
    precision = PRECISIONS[expected["precision"]]
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
