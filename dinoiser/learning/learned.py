"""What was learnt from corrected masks, in memory and in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dinoiser.atomic import write_file
from dinoiser.errors import CheckpointError, SettingsError
from dinoiser.weights.checkpoint import read_metadata, read_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from dinoiser.models.base import SegmentationModel
    from dinoiser.prompts import PromptSet

FORMAT = "dinoiser-learned-1"


@dataclass(frozen=True, eq=False)
class Learned:
    """How far corrected masks moved the classes away from their words.

    Attributes
    ----------
    classes
        The classes' names by id.
    digest
        The model's, see `SegmentationModel.digest`.
    shift
        (K, D) float32, by the order of `classes`: its product with a patch of
        unit length is added to 100 times a class's cosine. All zero where words
        alone are as good.
    penalty
        How much a change cost, see `fit_shifts`; infinity for words alone.
    images
        Number of corrected images.
    examples
        Number of patches of each class, by its id.
    words, learned
        IoU of each class by words alone and with what was learnt, by its id, in
        [0, 1]; over patches of images that were left out of what was learnt.
    """

    classes: dict[int, str]
    digest: str | None
    shift: Tensor = field(repr=False)
    penalty: float
    images: int
    examples: dict[int, int]
    words: dict[int, float]
    learned: dict[int, float]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Learned) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what it says: the same corrections teach the same."""
        return hashlib.sha256(self._content()).hexdigest()

    @property
    def moves(self) -> bool:
        """Whether any class has moved."""
        return bool(self.shift.any())

    def shift_for(self, prompts: PromptSet, model: SegmentationModel) -> Tensor | None:
        """Return the shift (K, D) in the order of a prompt set's classes; None if nothing moves.

        Raises
        ------
        SettingsError
            It was learnt with another model or other classes.
        """
        self.check_model(model.name, model.digest)
        self.check_classes(prompts)
        if not self.moves:
            return None
        places = {number: place for place, number in enumerate(self.classes)}
        return self.shift[[places[item.id] for item in prompts.classes]]

    def check_model(self, name: str, digest: str | None) -> None:
        """Make sure that a model is the one that was taught, with the same heads.

        Raises
        ------
        SettingsError
            It is another.
        """
        if self.digest != digest:
            msg = (
                f"what was learnt belongs to another model than {name}, or to other heads; learn "
                "it again"
            )
            raise SettingsError(msg)

    def check_classes(self, prompts: PromptSet) -> None:
        """Make sure that a prompt set has the classes that were learnt.

        Raises
        ------
        SettingsError
            It has others.
        """
        classes = {item.id: item.name for item in prompts.classes}
        if classes != self.classes:
            msg = (
                f"what was learnt has the classes {_list(self.classes)}, but the words have "
                f"{_list(classes)}; learn it again, or use its classes"
            )
            raise SettingsError(msg)

    def save(self, path: str | Path) -> None:
        """Write it to a safetensors file.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        write_file(path, self._content())

    def _content(self) -> bytes:
        """Return what a file of it contains."""
        from safetensors.torch import save

        about: dict[str, Any] = {
            "classes": self.classes, "digest": self.digest, "penalty": self.penalty,
            "images": self.images, "examples": self.examples,
            "words": self.words, "learned": self.learned,
        }  # fmt: skip
        # one entry of metadata: several come in an order that changes from process to process
        return save({"shift": self.shift}, {FORMAT: json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Learned:
        """Read it from a file.

        Raises
        ------
        CheckpointError
            The file is missing, damaged, or something else.
        """
        tensors, about = read_tensors(path), read_metadata(path)
        try:
            # a copy, as a tensor from a file holds it open, and Windows then lets nobody replace it
            shift, known = tensors["shift"].float().clone(), json.loads(about[FORMAT])
            for name in ("classes", "examples", "words", "learned"):
                known[name] = {int(number): value for number, value in known[name].items()}
            learned = cls(shift=shift, **known)
            fits = shift.shape[:1] == (len(learned.classes),)
        except (KeyError, TypeError, ValueError, AttributeError):
            fits = False
        if not fits or shift.ndim != 2:
            msg = f"{path} is not a file of what was learnt; `dinoiser improve --save` writes them"
            raise CheckpointError(msg)
        return learned


def _list(classes: dict[int, str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in classes.items())
