"""Summary of a job in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dinoiser.labels import IGNORE, with_ignored_as

if TYPE_CHECKING:
    from dinoiser.batch.records import Record
    from dinoiser.batch.reviews import Review

SHOWN = 5


@dataclass
class Summary:
    """Numbers of a job, over this run and the ones it resumed.

    Attributes
    ----------
    total
        Number of images in the job.
    done, resumed
        Number of images labelled, and of those labelled by an earlier run.
    failures
        Reasons for failures, by image name.
    not_exported
        Why labelled images are not in the annotations, by image name.
    pixels
        Number of pixels of each class id, and of ignored pixels, in the masks as
        they are.
    confidence_pixels, confidence_sums
        Number of pixels that the model gave each class id, and the sum of its
        confidence over them.
    warnings
        Images that something is probably wrong with, by what it is.
    cancelled
        Whether the run was stopped before its end.
    notes
        What else a person wants to know, a sentence each: files that were
        passed over, images that are gone, damage.
    ignore
        The job's label of ignored pixels.
    """

    total: int
    done: int = 0
    resumed: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    not_exported: dict[str, str] = field(default_factory=dict)
    pixels: dict[int, int] = field(default_factory=dict)
    confidence_pixels: dict[int, int] = field(default_factory=dict)
    confidence_sums: dict[int, float] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    cancelled: bool = False
    notes: list[str] = field(default_factory=list)
    ignore: int = IGNORE

    @property
    def through(self) -> int:
        """Number of images that were labelled or failed."""
        return self.done + len(self.failures)

    def add(self, record: Record, review: Review | None = None) -> None:
        """Count one image, by its review where a person has corrected its mask."""
        if record.status == "failed":
            self.failures[record.image] = record.error or "unknown"
            return
        self.done += 1
        if record.warning:
            self.warnings.setdefault(record.warning, []).append(record.image)
        pixels = (review and review.pixels) or record.pixels
        for label, count in with_ignored_as(pixels, self.ignore).items():
            self.pixels[label] = self.pixels.get(label, 0) + count
        for label, mean in record.confidence.items():
            if mean is not None:
                count = record.pixels.get(label, 0)
                self.confidence_pixels[label] = self.confidence_pixels.get(label, 0) + count
                self.confidence_sums[label] = self.confidence_sums.get(label, 0.0) + mean * count

    def share(self, label: int) -> float:
        """Share of a label in all pixels, 0 to 1."""
        return self.pixels.get(label, 0) / max(1, sum(self.pixels.values()))

    def mean_confidence(self, label: int) -> float | None:
        """Mean confidence of the pixels that the model gave a class id; None if there are none."""
        count = self.confidence_pixels.get(label, 0)
        return self.confidence_sums[label] / count if count else None


def count_images(count: int) -> str:
    """Say how many images."""
    return "1 image" if count == 1 else f"{count:,} images"


def name_some(names: list[str], most: int = SHOWN) -> str:
    """Name the first few of what a note counts."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
