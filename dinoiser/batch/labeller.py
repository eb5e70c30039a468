"""Labelling some pictures in this process: several at once, a thread each."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dinoiser.batch.pictures import Picture, result_file
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.shared_model import BatchedModel
from dinoiser.errors import DinoiserError, OutputError, SettingsError
from dinoiser.export import write_confidence, write_overlay, write_png
from dinoiser.images import read_image
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.models.base import SegmentationModel

_log = logging.getLogger(__name__)


class Labeller:
    """Labels pictures of one job with one model.

    Each picture has a thread from its decoding to its record, so that decoding
    and writing go on beside the model, and no more pictures are in memory than
    there are threads. On a CPU every window is computed by one thread, by
    itself: that is faster than several threads on one window, and the result
    does not depend on how many there are. On an accelerator the windows of all
    threads share batches, see `BatchedModel`.

    Parameters
    ----------
    job
        What to do.
    model
        What labels.
    records
        Where the records go.
    threads
        Pictures at a time on a CPU; None for as many as torch has threads.
    """

    def __init__(
        self,
        job: LabelJob,
        model: SegmentationModel,
        records: RecordFile,
        threads: int | None = None,
    ) -> None:
        self.job = job
        self.model = model
        self.records = records
        self.threads = threads

    def label(
        self, pictures: Iterable[Picture], cancelled: Callable[[], bool] | None = None
    ) -> Iterator[Record]:
        """Label pictures; give their records as they are done, in any order.

        Parameters
        ----------
        pictures
            Taken one by one, a few ahead of the records.
        cancelled
            Asked before every picture; True ends the work with the pictures
            that have been begun.

        Raises
        ------
        OutputError
            Results cannot be written.
        SettingsError
            A batch of windows does not fit into the device's memory.
        """
        with ExitStack() as stack:
            segmenter, threads = self._prepare(stack)
            pool = stack.enter_context(ThreadPoolExecutor(threads))
            running: set[Future[Record]] = set()
            for picture in pictures:
                if cancelled and cancelled():
                    break
                if len(running) >= threads:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from self._keep(done)
                running.add(pool.submit(self._label_one, segmenter, picture))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from self._keep(done)

    def _prepare(self, stack: ExitStack) -> tuple[Segmenter, int]:
        settings: dict[str, Any] = {**self.job.settings}
        batch_size = settings.pop("batch_size", "auto")
        if self.model.device.type == "cpu":
            segmenter = Segmenter(self.model, batch_size=1, **settings)
            threads = self.threads or torch.get_num_threads()
            stack.enter_context(_one_thread_a_window())
        else:
            shared = stack.enter_context(BatchedModel(self.model, batch_size))
            segmenter = Segmenter(shared, batch_size=batch_size, **settings)
            window = segmenter.windows.window
            threads = shared.batch_size((3, window, window)) + (os.cpu_count() or 1)
        prompts = self.job.prompts
        phrases = [phrase for c in prompts.classes for phrase in c.phrases]
        segmenter.phrases.get(phrases, prompts.templates)  # once, before the threads ask for it
        return segmenter, threads

    def _keep(self, done: set[Future[Record]]) -> list[Record]:
        records = [future.result() for future in done]
        self.records.append(records)
        return records

    def _label_one(self, segmenter: Segmenter, picture: Picture) -> Record:
        """Label a picture and write its results; what is wrong with it goes into the record."""
        start = time.perf_counter()
        try:
            found = self._results(segmenter, picture)
            seconds = round(time.perf_counter() - start, 3)
            return _record(picture, status="done", seconds=seconds, **found)
        except (OutputError, SettingsError):
            raise
        except DinoiserError as error:
            reason = str(error)
        except MemoryError:
            reason = "there is not enough memory for it; use windows instead of --whole"
        except Exception as error:
            _log.exception("labelling %s failed", picture.path)
            reason = f"{type(error).__name__}: {error}"
        return _record(picture, status="failed", error=reason)

    def _results(self, segmenter: Segmenter, picture: Picture) -> dict[str, Any]:
        path = Path(picture.path)
        image = read_image(path)
        result = segmenter.segment(image, self.job.prompts)
        output, stem = self.job.output, picture.stem
        write_png(result, result_file(output, stem, "png"))
        if "confidence" in self.job.formats:
            write_confidence(result, result_file(output, stem, "confidence"))
        if "overlay" in self.job.formats:
            write_overlay(image, result, result_file(output, stem, "overlay"))
        return {
            "digest": _file_digest(path),
            "size": np.shape(result.labels),
            "pixels": result.pixel_counts(),
            "confidence": result.mean_confidence(),
            "histogram": result.confidence_histogram(),
        }


def failed_record(picture: Picture, reason: str) -> Record:
    """Record of a picture that could not be labelled."""
    return _record(picture, status="failed", error=reason)


def _record(picture: Picture, **found: Any) -> Record:
    return Record(image=picture.name, stem=picture.stem, path=picture.path, **found)


@contextmanager
def _one_thread_a_window() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
