"""Label images in this process, several at once, each in its own thread."""

from __future__ import annotations

import gc
import logging
import threading
import warnings
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from dinoiser.batch.engines.label_images import ImageLabeller
from dinoiser.batch.engines.shared_model import BatchedModel
from dinoiser.batch.job_images import JobImage, in_groups
from dinoiser.errors import OutputError
from dinoiser.models.device import one_thread
from dinoiser.segment.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.records import Record, RecordFile
    from dinoiser.models.base import SegmentationModel


SECONDS_TO_NOTICE = 0.1
"""How long it takes at most to notice that a job is cancelled."""


class Labeller:
    """Labels images of one job with one model.

    One thread takes an image from decoding to its record, so that decoding and
    writing overlap with the model. On a CPU, each window is computed by one
    thread: this is faster than several threads on one window, and the result
    does not depend on their number. If the model is so small that a thread works
    better on several windows, it takes a few images at a time. One more thread
    reads files ahead, so that no other waits for the disk. On an accelerator, the
    windows of all threads share batches, see `BatchedModel`. No more images are in
    memory than there are threads.

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
        self.pipeline = Pipeline.build(
            model,
            job.labelling.settings,
            learned=job.labelling.load_learned(),
            one_thread=on_cpu,
        )
        # guards the three below, and the file of records
        self._lock = threading.Lock()
        self._callers = 0
        self._stack = ExitStack()
        self._stream: _Stream | None = None

    def label(
        self, images: Iterable[JobImage], cancelled: Callable[[], bool] | None = None
    ) -> Iterator[Record]:
        """Label images; yield their records as they are done, in any order.

        Several threads may call it at once, each with images of its own; they
        share the threads that do the work, and their windows share batches.

        Parameters
        ----------
        images
            The images; a few are taken ahead of the records, and of the threads.
        cancelled
            Called before every few images; if True, those already begun are
            finished and no more are begun.

        Raises
        ------
        OutputError
            Results cannot be written.
        SettingsError
            A batch of windows does not fit into the device's memory.
        DeviceError
            The device has failed.
        """
        with self._open() as stream:
            running: dict[Future[None], list[Record]] = {}
            done: SimpleQueue[Future[None]] = SimpleQueue()
            is_cancelled = cancelled or (lambda: False)
            try:
                for some in in_groups(images, stream.together):
                    # as many again wait, so that no thread does while records reach the disk
                    while len(running) >= 2 * stream.threads and not is_cancelled():
                        yield from self._keep(stream, done, running)
                    if is_cancelled():
                        break
                    records: list[Record] = []
                    future = stream.submit(some, records)
                    running[future] = records
                    future.add_done_callback(done.put)
                while running:
                    if is_cancelled():
                        _cancel_waiting(running)
                    yield from self._keep(stream, done, running)
            finally:
                _cancel_waiting(running)
                wait(running)
                if running:  # an error ends the work: what is done all the same is kept
                    with suppress(OutputError):
                        self._record(stream, running.values())

    @contextmanager
    def _open(self) -> Iterator[_Stream]:
        """Give all callers the same threads and model, which end with the last of them."""
        with self._lock:
            if self._stream is None:
                with ExitStack() as stack:  # closed here only if an error comes before the end
                    self._stream = self._prepare(stack)
                    self._stack = stack.pop_all()
            self._callers += 1
        try:
            yield self._stream
        finally:
            with self._lock:
                self._callers -= 1
                if not self._callers:
                    self._stream = None
                    self._stack.close()

    def _prepare(self, stack: ExitStack) -> _Stream:
        pipeline, side = self.pipeline, self.pipeline.windows.window
        pipeline.embed(self.job.prompts)  # once, before the threads need it
        stack.enter_context(silent_decoders())
        stack.enter_context(_frozen_heap())
        # windows of the usual, square size
        in_a_pass = pipeline.passes.windows(pipeline.model, (side, side))
        cores = torch.get_num_threads()  # before it is set to one
        # teams of threads for each thread here would only wait for each other
        stack.enter_context(one_thread())
        if pipeline.passes.one_thread:
            at_once = self.threads or cores
            # one more only reads files: at work, it would take cache from the others
            threads, together = 1 + at_once, in_a_pass
            at_work: AbstractContextManager[Any] = threading.Semaphore(at_once)
            producing: Callable[[], AbstractContextManager[None]] = nullcontext
        else:
            # one batch is on the device while the next one fills up, even with one window an image
            threads, together = 2 * in_a_pass + cores, 1
            shared = BatchedModel(pipeline.model, pipeline.passes, threads)
            stack.enter_context(shared)
            at_work = nullcontext()  # the device is what all wait for
            pipeline, producing = replace(pipeline, tower=shared.encode), shared.producing
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        labeller = ImageLabeller(self.job, pipeline, self.threads, at_work)
        return _Stream(pool, labeller, producing, threads, together)

    def _keep(
        self,
        stream: _Stream,
        done: SimpleQueue[Future[None]],
        running: dict[Future[None], list[Record]],
    ) -> list[Record]:
        """Wait a moment for images that are done, and keep their records."""
        futures: list[Future[None]] = []
        with suppress(Empty):
            futures.append(done.get(timeout=SECONDS_TO_NOTICE))
            while True:
                futures.append(done.get_nowait())
        records = self._record(stream, [running.pop(one) for one in futures])
        for future in futures:
            if not future.cancelled():
                future.result()  # raises what has ended the work
        return records

    def _record(self, stream: _Stream, ended: Iterable[list[Record]]) -> list[Record]:
        """Write the records of images that are done, and return them."""
        records = [record for some in ended for record in some]
        with self._lock, stream.labeller.folder.stays():
            self.records.append(records)
        return records


class _Stream(NamedTuple):
    """What labels images, for all callers.

    Attributes
    ----------
    pool, labeller
        The threads, and what each of them does with images.
    producing
        Announces an image, see `BatchedModel`.
    threads
        The number of threads.
    together
        The number of images that each takes at a time.
    """

    pool: ThreadPoolExecutor
    labeller: ImageLabeller
    producing: Callable[[], AbstractContextManager[None]]
    threads: int
    together: int

    def submit(self, images: Iterable[JobImage], records: list[Record]) -> Future[None]:
        """Label a few images in one of the threads, see `ImageLabeller.label`."""
        announced = ExitStack()
        announced.enter_context(self.producing())
        future = self.pool.submit(self.labeller.label, images, records)
        future.add_done_callback(lambda _: announced.close())
        return future


def _cancel_waiting(running: Iterable[Future[None]]) -> None:
    for future in running:
        future.cancel()  # nothing happens to one that has begun


@contextmanager
def _frozen_heap() -> Iterator[None]:
    """Keep Python's garbage collector off the objects of the libraries.

    To search them all, it holds up every thread for 0.2 s, once in some 15,000 images.
    """
    if gc.get_freeze_count():  # the program's own doing
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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
