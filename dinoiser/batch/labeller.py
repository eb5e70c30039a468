"""Labelling some pictures in this process: several at once, a thread each."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dinoiser.batch.pictures import RESULTS, Picture, as_text, result_file
from dinoiser.batch.records import Record, RecordFile
from dinoiser.batch.shared_model import BatchedModel
from dinoiser.errors import DinoiserError, ImageError, OutputError, SettingsError
from dinoiser.export import write_confidence, write_label_overlay, write_overlay, write_png
from dinoiser.images import read_image
from dinoiser.large_tiff import is_large_tiff
from dinoiser.models.text import PhraseEmbeddings
from dinoiser.models.weight_files import cache_dir
from dinoiser.segment.large import LargeSegmentation, label_large_tiff
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dinoiser.batch.job import LabelJob
    from dinoiser.models.base import SegmentationModel
    from dinoiser.segmentation import Segmentation

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
        self._phrases = PhraseEmbeddings(model, cache_dir() / "phrases")

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
            threads = 1 + (self.threads or torch.get_num_threads())  # one waits for the disk
            stack.enter_context(_one_thread_a_window())
        else:
            shared = stack.enter_context(BatchedModel(self.model, batch_size))
            segmenter = Segmenter(shared, batch_size=batch_size, **settings)
            window = segmenter.windows.window
            threads = shared.batch_size((3, window, window)) + (os.cpu_count() or 1)
        segmenter.phrases = self._phrases
        segmenter.embed(self.job.prompts)  # once, before the threads ask for it
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
        if as_text(picture.path) != picture.path:
            name = os.fsencode(path.name)
            msg = f"its name {name!r} is not UTF-8, as annotation files need; rename it"
            raise ImageError(msg)
        places = {
            name: result_file(self.job.output, picture.stem, name)
            for name in ("png", *self.job.formats)
            if name in RESULTS
        }
        if is_large_tiff(path) and not segmenter.windows.whole:
            result: Segmentation | LargeSegmentation = self._label_in_parts(segmenter, path, places)
        else:
            result = self._label_at_once(segmenter, path, places)
        return {
            "digest": _file_digest(path),
            "size": result.size,
            "pixels": result.pixel_counts(),
            "confidence": result.mean_confidence(),
            "histogram": result.confidence_histogram(),
        }

    def _label_at_once(
        self, segmenter: Segmenter, path: Path, places: dict[str, Path]
    ) -> Segmentation:
        image = read_image(path)
        result = segmenter.segment(image, self.job.prompts)
        write_png(result, places["png"])
        if "confidence" in places:
            write_confidence(result, places["confidence"])
        if "overlay" in places:
            write_overlay(image, result, places["overlay"])
        return result

    def _label_in_parts(
        self, segmenter: Segmenter, path: Path, places: dict[str, Path]
    ) -> LargeSegmentation:
        prompts = self.job.prompts
        result = label_large_tiff(
            path, prompts, segmenter, places["png"], places.get("confidence"), threads=self.threads
        )
        assert result is not None  # it is None only where it was cancelled
        if "overlay" in places:
            image, labels = result.preview_image, result.preview_labels
            write_label_overlay(image, labels, prompts, places["overlay"])
        return result


def failed_record(picture: Picture, reason: str) -> Record:
    """Record of a picture that could not be labelled."""
    return _record(picture, status="failed", error=reason)


def _record(picture: Picture, **found: Any) -> Record:
    return Record(image=picture.name, stem=picture.stem, path=as_text(picture.path), **found)


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


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
