"""How well labels agree with the truth, for programs and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinoiser.evaluation.metrics import ConfusionMatrix


@dataclass(frozen=True)
class Score:
    """What an evaluation found.

    Attributes
    ----------
    title
        What was evaluated, in words.
    matrix
        All counted pixels.
    images
        Number of images that were counted.
    facts
        What else belongs to the figures, such as the model's name.
    published
        mIoU in [0, 1] that the paper gives for the same; None where it gives
        none.
    failures
        Why images are missing from the figures, by name.
    """

    title: str
    matrix: ConfusionMatrix
    images: int
    facts: dict[str, Any] = field(default_factory=dict)
    published: float | None = None
    failures: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Everything as it is printed in JSON; IoU and mIoU in [0, 1]."""
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
        """Give a page with the mean and a table of the classes, in percent."""
        facts = [f"- {name}: {_shown(value)}" for name, value in self.facts.items()]
        rows = [f"| {name} | {percent(iou)} |" for name, iou in self.matrix.by_class().items()]
        failed = [f"- failed: {name}: {reason}" for name, reason in self.failures.items()]
        lines = [
            f"# {self.title}",
            "",
            f"mIoU {percent(self.matrix.mean())} over {self.images} images"
            + (f"; the paper gives {percent(self.published)}." if self.published else "."),
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
    """Write a share in [0, 1] as the papers do: 62.1; "-" for None."""
    return "-" if share is None else f"{100 * share:.1f}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)
