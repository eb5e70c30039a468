"""Scores of labels against the truth, for programs and as Markdown."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinoiser.evaluation.metrics import ConfusionMatrix


@dataclass(frozen=True)
class BoundaryScore:
    """How well boundaries match, see `Band`.

    Attributes
    ----------
    band
        The width that counts as boundary, in words.
    by_class
        IoU in [0, 1] of the bands, of each class that has one.
    """

    band: str
    by_class: dict[str, float]

    def mean(self) -> float | None:
        """Mean over the classes; None without any."""
        return mean(self.by_class)


@dataclass(frozen=True)
class Score:
    """The result of an evaluation.

    Attributes
    ----------
    title
        What was evaluated, in words.
    matrix
        The counted pixels.
    images
        Number of images counted.
    facts
        Further facts about the evaluation, such as the model's name.
    published
        mIoU in [0, 1] reported in the paper for the same setting, or None.
    failures
        Reasons why images are missing from the figures, by image name.
    boundary
        How well boundaries match, if that was measured.
    by_image
        mIoU and boundary IoU in [0, 1] by image name, over the classes of the
        image; None without any.
    notes
        What a reader of the figures should know, a sentence each.
    """

    title: str
    matrix: ConfusionMatrix
    images: int
    facts: dict[str, Any] = field(default_factory=dict)
    published: float | None = None
    failures: dict[str, str] = field(default_factory=dict)
    boundary: BoundaryScore | None = None
    by_image: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return everything for JSON; IoU and mIoU are in [0, 1]."""
        return {
            **self.facts,
            "miou": self.matrix.mean(),
            "published_miou": self.published,
            "pixel_accuracy": self.matrix.accuracy(),
            "per_class": self.matrix.by_class(),
            **self._boundary_figures(),
            "images": self.images,
            "failed": self.failures,
            "notes": list(self.notes),
        }

    def markdown(self) -> str:
        """Return a page with the mean and a table of the classes, in percent."""
        facts = [f"- {name}: {_shown(value)}" for name, value in self.facts.items()]
        if self.boundary:
            figure = percent(self.boundary.mean())
            facts.append(f"- boundary IoU: {figure}, in a band of {self.boundary.band}")
        header, *body = self.table()
        failed = [f"- failed: {name}: {reason}" for name, reason in self.failures.items()]
        lines = [
            f"# {self.title}",
            "",
            f"mIoU {percent(self.matrix.mean())} over {self.images} images"
            + (f"; the paper reports {percent(self.published)}." if self.published else "."),
            "",
            *facts,
            f"- pixel accuracy: {percent(self.matrix.accuracy())}",
            *failed,
            *(f"- note: {sentence}" for sentence in self.notes),
            "",
            "| " + " | ".join(header) + " |",
            "|---" + "|---:" * (len(header) - 1) + "|",
            *("| " + " | ".join(row) + " |" for row in body),
        ]
        return "\n".join(lines) + "\n"

    def table(self) -> list[list[str]]:
        """Return the figures of the classes in percent, below a row of headings."""
        rows = [[name, percent(iou)] for name, iou in self.matrix.by_class().items()]
        if not self.boundary:
            return [["class", "IoU"], *rows]
        bands = self.boundary.by_class
        return [
            ["class", "IoU", "boundary IoU"],
            *([name, iou, percent(bands.get(name))] for name, iou in rows),
        ]

    def image_table(self) -> str:
        """Return the figures of the images as CSV, in [0, 1], the lowest mIoU first."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "miou", "boundary_iou"])
        for name, figures in sorted(self.by_image.items(), key=lambda pair: pair[1][0] or 0):
            writer.writerow([name, *("" if value is None else f"{value:.4f}" for value in figures)])
        return text.getvalue()

    def _boundary_figures(self) -> dict[str, Any]:
        if not self.boundary:
            return {}
        return {
            "band": self.boundary.band,
            "boundary_miou": self.boundary.mean(),
            "boundary_per_class": self.boundary.by_class,
        }


def mean(by_class: dict[str, float]) -> float | None:
    """Return the mean over classes; None without any."""
    return sum(by_class.values()) / len(by_class) if by_class else None


def percent(share: float | None) -> str:
    """Format a share in [0, 1] as papers do: 62.1; "-" for None."""
    return "-" if share is None else f"{100 * share:.1f}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)
