"""Label images in this process, several at once, each in its own thread."""

from __future__ import annotations

import logging
import os
import warnings
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from dinoiser.batch.engines.label_images import ImageLabeller
from dinoiser.batch.engines.shared_model import BatchedModel
from dinoiser.batch.job_images import JobImage, in_groups
from dinoiser.learning.learned import Learned
from dinoiser.segment.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.records import Record, RecordFile
    from dinoiser.models.base import SegmentationModel


class Labeller:
    """Labels images of one job with one model.

    One thread takes an image from decoding to its record, so that decoding and
    writing overlap with the model. On a CPU, each window is computed by one
    thread: this is faster than several threads on one window, and the result
    does not depend on their number. If the model is so small that a thread works
    better on several windows, it takes a few images at a time. On an
    accelerator, the windows of all threads share batches, see `BatchedModel`,
    and no more images are in memory than there are threads.

    Parameters
    ----------
    job
        The job.
    model
        The model.
    records
        The file for the records.
    threads
        Number of images at a time on a CPU; None for torch's number of threads.
    """

    def __init__(
        self,
        job: LabelJob,
        model: SegmentationModel,
        records: RecordFile,
        threads: int | None = None,
    ) -> None:
        self.job = job
        self.records = records
        self.threads = threads
        on_cpu = model.device.type == "cpu"
        path = job.labelling.learned
        self.pipeline = Pipeline.build(
            model,
            job.labelling.settings,
            learned=None if path is None else Learned.load(path),
            one_thread=on_cpu,
        )

    def label(
        self, images: Iterable[JobImage], cancelled: Callable[[], bool] | None = None
    ) -> Iterator[Record]:
        """Label images; yield their records as they are done, in any order.

        Parameters
        ----------
        images
            The images; a few at a time are taken, ahead of the records.
        cancelled
            Called before every few images; if True, those already begun are
            finished and no more are taken.

        Raises
        ------
        OutputError
            Results cannot be written.
        SettingsError
            A batch of windows does not fit into the device's memory.
        """
        with ExitStack() as stack:
            pipeline, threads, together = self._prepare(stack)
            pool = stack.enter_context(ThreadPoolExecutor(threads))
            labeller = ImageLabeller(self.job, pipeline, self.threads)
            running: set[Future[list[Record]]] = set()
            for some in in_groups(images, together):
                if cancelled and cancelled():
                    break
                # no more waiting images than threads, so that memory is bounded
                if len(running) >= threads:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from self._keep(done)
                running.add(pool.submit(labeller.label, some))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from self._keep(done)

    def _prepare(self, stack: ExitStack) -> tuple[Pipeline, int, int]:
        """Return the pipeline, the number of threads, and the images each takes at a time."""
        pipeline, side = self.pipeline, self.pipeline.windows.window
        pipeline.embed(self.job.prompts)  # once, before the threads need it
        # windows of the usual, square size
        in_a_pass = pipeline.passes.windows(pipeline.model, (side, side))
        if pipeline.passes.one_thread:
            stack.enter_context(_one_thread_a_window())
            # one more, as one waits for the disk
            threads = 1 + (self.threads or torch.get_num_threads())
            return pipeline, threads, in_a_pass
        # enough images to fill a batch even with one window each, and more to decode meanwhile
        shared = stack.enter_context(BatchedModel(pipeline.model, pipeline.passes))
        return replace(pipeline, model=shared), in_a_pass + (os.cpu_count() or 1), 1

    def _keep(self, done: set[Future[list[Record]]]) -> list[Record]:
        records = [record for future in done for record in future.result()]
        self.records.append(records)
        return records


@contextmanager
def silent_decoders() -> Iterator[None]:
    """Silence decoders, which would disturb the progress bar: failures are in the records."""
    tifffile = logging.getLogger("tifffile")
    level = tifffile.level
    tifffile.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tifffile.setLevel(level)


@contextmanager
def _one_thread_a_window() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
