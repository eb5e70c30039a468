"""Count what a report shows, record by record, in constant memory."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from dinoiser.batch.report.plausible import plausible_pixels, plausible_record
from dinoiser.labels import ignore_among, with_ignored_as
from dinoiser.segmentation import HISTOGRAM_BINS

if TYPE_CHECKING:
    from dinoiser.batch.records import Record
    from dinoiser.batch.reviews import Review

SHOWN_SPREAD = 48  # images on the contact sheet; the other two are also numbers of images
SHOWN_LEAST_CERTAIN = 24
SHOWN_FAILURES = 200

T = TypeVar("T")


@dataclass
class LabelFigures:
    """Figures of one label over all images.

    Attributes
    ----------
    pixels
        Number of pixels with the label.
    images
        Number of images with such pixels.
    histogram
        Number of pixels by confidence, in `HISTOGRAM_BINS` equal steps from 0 to 1.
    """

    pixels: int = 0
    images: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BINS)
    _confidence_sum: float = 0.0
    _confident_pixels: int = 0

    @property
    def confidence(self) -> float | None:
        """Mean confidence over the pixels; None without pixels and for ignored pixels."""
        return self._confidence_sum / self._confident_pixels if self._confident_pixels else None

    def add(self, pixels: int, confidence: float | None, histogram: tuple[int, ...]) -> None:
        """Count the label's pixels of one image."""
        self.pixels += pixels
        self.images += pixels > 0
        self.histogram = [
            a + b for a, b in zip(self.histogram, histogram or [0] * HISTOGRAM_BINS, strict=True)
        ]
        if confidence is not None:
            self._confidence_sum += confidence * pixels
            self._confident_pixels += pixels


class EvenSample(Generic[T]):
    """A fixed number of items, evenly spread over a stream of unknown length.

    Every `step`-th item is kept. When there are too many, every other one is
    dropped and the step doubles.

    Parameters
    ----------
    size
        Maximum number of items in the sample.
    """

    _SPARE = 8  # items kept per item returned; the more, the more even the gaps

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: list[T] = []
        self._step = 1
        self._seen = 0

    def add(self, item: T) -> None:
        """Add the next item of the stream."""
        if self._seen % self._step == 0:
            self._kept.append(item)
        self._seen += 1
        if len(self._kept) > self._SPARE * self.size:
            self._kept = self._kept[::2]
            self._step *= 2

    def items(self) -> list[T]:
        """Return the sample in the order of the stream."""
        count = len(self._kept)
        if count <= self.size:
            return list(self._kept)
        return [self._kept[i * (count - 1) // (self.size - 1)] for i in range(self.size)]


class JobFigures:
    """Everything that a report shows about a job's images.

    Parameters
    ----------
    ignore
        The job's label of ignored pixels, under which those of all its images are
        counted; None leaves them under each image's own.

    Attributes
    ----------
    done, failed
        Number of images.
    checked, rejected
        Number of labelled images that were accepted or rejected in a review,
        and of those rejected.
    labels
        Figures by label as predicted by the model, with ignored pixels.
    mask_pixels, mask_images
        Number of pixels by label, and of images with such pixels, in the masks
        to export: with corrections, without rejected images.
    spread
        Labelled images from throughout the job.
    failures
        The first `SHOWN_FAILURES` images that failed, and the reasons.
    implausible
        Number of images whose records or reviews have figures that no image can
        have, such as a label above 65535; such figures are left out.
    """

    def __init__(self, ignore: int | None = None) -> None:
        self._ignore = ignore
        self.done = 0
        self.failed = 0
        self.checked = 0
        self.rejected = 0
        self.implausible = 0
        self.labels: dict[int, LabelFigures] = defaultdict(LabelFigures)
        self.mask_pixels: Counter[int] = Counter()
        self.mask_images: Counter[int] = Counter()
        self.spread: EvenSample[Record] = EvenSample(SHOWN_SPREAD)
        self.failures: list[tuple[str, str]] = []
        self._uncertain: list[tuple[float, int, Record]] = []
        self._seconds: Counter[int] = Counter()

    def add(self, record: Record, review: Review | None = None) -> None:
        """Count one image and its review."""
        found, record = record, plausible_record(record)
        written = (review and review.pixels) or {}
        corrected = plausible_pixels(written)
        self.implausible += found != record or corrected != written
        if record.status == "failed":
            self.failed += 1
            if len(self.failures) < SHOWN_FAILURES:
                reason = record.error or "no reason was recorded"
                # the page may be shared: show the image's name instead of a path on this machine
                self.failures.append((record.image, reason.replace(record.path, record.image)))
            return
        ignore = ignore_among(record.pixels)
        for label, pixels in record.pixels.items():
            confidence = record.confidence.get(label) if label != ignore else None
            counted = self._ignore if label == ignore and self._ignore is not None else label
            self.labels[counted].add(pixels, confidence, record.histogram.get(label, ()))
        self._add_mask(corrected or record.pixels, review)
        # already counted, and the largest part of a record
        shown = record.model_copy(update={"histogram": {}})
        self.spread.add(shown)
        self._keep_if_uncertain(shown)
        if record.seconds > 0:
            self._seconds[round(100 * math.log(record.seconds))] += 1  # steps of 1 %
        self.done += 1

    def _add_mask(self, pixels: dict[int, int], review: Review | None) -> None:
        """Count an image's current mask by its pixels, and its review."""
        if review and review.state != "unchecked":
            self.checked += 1
        if review and review.state == "rejected":
            self.rejected += 1
            return
        if self._ignore is not None:
            pixels = with_ignored_as(pixels, self._ignore)
        self.mask_pixels.update(pixels)
        self.mask_images.update(label for label, count in pixels.items() if count)

    def _keep_if_uncertain(self, record: Record) -> None:
        """Keep the least certain images; one whose pixels are all ignored ranks first."""
        expected = -1.0 if record.expected_iou is None else record.expected_iou
        # the heap drops its smallest entry: the best image, and among equals the last
        entry = (-expected, -self.done, record)
        if len(self._uncertain) < SHOWN_LEAST_CERTAIN:
            heapq.heappush(self._uncertain, entry)
        else:
            heapq.heappushpop(self._uncertain, entry)

    @property
    def least_certain(self) -> list[Record]:
        """The images whose masks are probably the worst, in that order."""
        return [record for _, _, record in sorted(self._uncertain, reverse=True)]

    @property
    def all_classes(self) -> LabelFigures:
        """Figures of all labels except ignore, with each image counted once."""
        together, ignore = LabelFigures(), self._ignore or ignore_among(self.labels)
        for label, figures in self.labels.items():
            if label != ignore:
                together.add(figures.pixels, figures.confidence, tuple(figures.histogram))
        together.images = self.done
        return together

    def seconds_quantile(self, quantile: float) -> float | None:
        """Seconds per image, within 1 %: 0.5 gives the median; None without figures."""
        rank = math.ceil(quantile * self._seconds.total())
        for step, count in sorted(self._seconds.items()):
            rank -= count
            if rank <= 0:
                return math.exp(step / 100)
        return None
