"""What `dinoiser diagnose` found, kept in the job's folder for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from dinoiser.atomic import write_file
from dinoiser.batch.records import RECORDS

if TYPE_CHECKING:
    from pathlib import Path

FINDINGS = RECORDS / "diagnosis.json"


class Findings(BaseModel, frozen=True):
    """What accepted masks said about a job's words.

    Attributes
    ----------
    turn
        How often the job had been labelled anew, see `LabelJob`.
    images
        Number of accepted masks.
    iou
        IoU by the classes' names; None for classes without pixels.
    sentences
        See `Diagnosis.sentences`.
    """

    turn: int
    images: int
    iou: dict[str, float | None]
    sentences: list[str]

    def save(self, output: Path) -> None:
        """Keep it in a job's folder.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        write_file(output / FINDINGS, self.model_dump_json().encode())


def read_findings(output: Path, turn: int) -> Findings | None:
    """Read what was found; None if nothing was, or in labels that a later turn replaced."""
    try:
        found = Findings.model_validate_json((output / FINDINGS).read_bytes())
    except (OSError, ValidationError):  # none, or damaged: the next diagnosis writes it anew
        return None
    return found if found.turn == turn else None
