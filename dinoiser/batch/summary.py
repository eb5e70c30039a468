"""Summary of a job in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dinoiser.labels import IGNORE, with_ignored_as

if TYPE_CHECKING:
    from dinoiser.batch.records import Record

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
        Number of pixels of each class id, and of ignored pixels.
    confidence_sums
        Sum of the confidence over each class id's pixels.
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
    confidence_sums: dict[int, float] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    cancelled: bool = False
    notes: list[str] = field(default_factory=list)
    ignore: int = IGNORE

    @property
    def through(self) -> int:
        """Number of images that were labelled or failed."""
        return self.done + len(self.failures)

    def add(self, record: Record) -> None:
        """Count one image."""
        if record.status == "failed":
            self.failures[record.image] = record.error or "unknown"
            return
        self.done += 1
        if record.warning:
            self.warnings.setdefault(record.warning, []).append(record.image)
        for label, count in with_ignored_as(record.pixels, self.ignore).items():
            self.pixels[label] = self.pixels.get(label, 0) + count
            mean = record.confidence.get(label) or 0.0
            self.confidence_sums[label] = self.confidence_sums.get(label, 0.0) + mean * count

    def share(self, label: int) -> float:
        """Share of a label in all pixels, 0 to 1."""
        return self.pixels.get(label, 0) / max(1, sum(self.pixels.values()))

    def mean_confidence(self, label: int) -> float | None:
        """Mean confidence of a class id's pixels; None if it has none."""
        count = self.pixels.get(label, 0)
        if not count or label == self.ignore:
            return None
        return self.confidence_sums[label] / count


def count_images(count: int) -> str:
    """Say how many images."""
    return "1 image" if count == 1 else f"{count:,} images"


def name_some(names: list[str]) -> str:
    """Name the first few of what a note counts."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
