"""Labelling some images in this process: several at once, a thread each."""

from __future__ import annotations

import logging
import os
import warnings
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from dinoiser.batch.engines.label_images import label_images
from dinoiser.batch.engines.shared_model import BatchedModel
from dinoiser.batch.job_images import JobImage, in_groups
from dinoiser.segment.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.records import Record, RecordFile
    from dinoiser.models.base import SegmentationModel


class Labeller:
    """Labels images of one job with one model.

    Each image has a thread from its decoding to its record, so that decoding
    and writing go on beside the model. On a CPU every window is computed by one
    thread: that is faster than several threads on one window, and the result
    does not depend on how many there are. Where the model is so small that a
    thread does better with several windows, it takes a few images at a time.
    On an accelerator the windows of all threads share batches, see
    `BatchedModel`, and no more images are in memory than there are threads.

    Parameters
    ----------
    job
        What to do.
    model
        What labels.
    records
        Where the records go.
    threads
        Images at a time on a CPU; None for as many as torch has threads.
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
        self.pipeline = Pipeline.build(model, job.labelling.settings, one_thread=on_cpu)

    def label(
        self, images: Iterable[JobImage], cancelled: Callable[[], bool] | None = None
    ) -> Iterator[Record]:
        """Label images; give their records as they are done, in any order.

        Parameters
        ----------
        images
            Taken a few at a time, some ahead of the records.
        cancelled
            Asked before every few images; True ends the work with those that
            have been begun.

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
            running: set[Future[list[Record]]] = set()
            for some in in_groups(images, together):
                if cancelled and cancelled():
                    break
                if len(running) >= threads:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from self._keep(done)
                running.add(pool.submit(label_images, self.job, pipeline, some, self.threads))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from self._keep(done)

    def _prepare(self, stack: ExitStack) -> tuple[Pipeline, int, int]:
        """Give what labels, the number of threads, and how many images each takes at a time."""
        pipeline, side = self.pipeline, self.pipeline.windows.window
        pipeline.embed(self.job.prompts)  # once, before the threads ask for it
        in_a_pass = pipeline.passes.windows(pipeline.model, (side, side))
        if pipeline.passes.one_thread:
            stack.enter_context(_one_thread_a_window())
            threads = 1 + (self.threads or torch.get_num_threads())  # one waits for the disk
            return pipeline, threads, in_a_pass
        # A batch is filled by the windows of as many images as it holds, some more are decoded.
        shared = stack.enter_context(BatchedModel(pipeline.model, pipeline.passes))
        return replace(pipeline, model=shared), in_a_pass + (os.cpu_count() or 1), 1

    def _keep(self, done: set[Future[list[Record]]]) -> list[Record]:
        records = [record for future in done for record in future.result()]
        self.records.append(records)
        return records


@contextmanager
def silent_decoders() -> Iterator[None]:
    """Let decoders not write between the progress bars: what they cannot read is in the records."""
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
