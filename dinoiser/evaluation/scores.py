"""Scores of labels against the truth, for programs and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinoiser.evaluation.metrics import ConfusionMatrix


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
    """

    title: str
    matrix: ConfusionMatrix
    images: int
    facts: dict[str, Any] = field(default_factory=dict)
    published: float | None = None
    failures: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return everything for JSON; IoU and mIoU are in [0, 1]."""
        return {
            **self.facts,
            "miou": self.matrix.mean(),
            "published_miou": self.published,
            "pixel_accuracy": self.matrix.accuracy(),
            "per_class": self.matrix.by_class(),
            "images": self.images,
            "failed": self.failures,
        }

    def markdown(self) -> str:
        """Return a page with the mean and a table of the classes, in percent."""
        facts = [f"- {name}: {_shown(value)}" for name, value in self.facts.items()]
        rows = [f"| {name} | {percent(iou)} |" for name, iou in self.matrix.by_class().items()]
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
            "",
            "| class | IoU |",
            "|---|---:|",
            *rows,
        ]
        return "\n".join(lines) + "\n"


def percent(share: float | None) -> str:
    """Format a share in [0, 1] as papers do: 62.1; "-" for None."""
    return "-" if share is None else f"{100 * share:.1f}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)
