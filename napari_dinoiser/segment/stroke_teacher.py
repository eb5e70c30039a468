"""What the user's strokes teach, kept from image to image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.labels import IGNORE_16, ignore_label

if TYPE_CHECKING:
    from collections.abc import Iterable
    from weakref import ref

    from dinoiser.learning.examples import Examples
    from dinoiser.learning.learned import Learned
    from dinoiser.prompts import PromptSet
    from dinoiser.segment.encoded_image import EncodedImage
    from napari_dinoiser.model_choice import ModelChoice
    from napari_dinoiser.segment.encoder import Encoder
    from napari_dinoiser.segment.image_source import ImageSource
    from napari_dinoiser.segment.parts import Part


@dataclass
class Strokes:
    """What is painted in a part of an image.

    Attributes
    ----------
    choice, source, part
        The model, the image, and the part of it. What an image has taught stays
        when it is deleted, and its pixels need not.
    mask
        (H, W) of `part.looked_at`: class ids; ignored where nothing is painted.
    names
        The classes' names by id when they were painted, as ids may change.
    examples
        Its patches; None until they were needed.
    """

    choice: ModelChoice
    source: ref[ImageSource]
    part: Part
    mask: np.ndarray
    names: dict[int, str]
    examples: Examples | None = None

    def same_as(self, other: Strokes) -> bool:
        """Whether it teaches the same."""
        return self.names == other.names and np.array_equal(self.mask, other.mask)

    def of(self, prompts: PromptSet, encoder: Encoder) -> Examples | None:
        """Return the examples of a prompt set's classes; None if there are none."""
        import torch

        from dinoiser.learning.examples import LEAST_STROKE_SHARE, examples_of

        if self.examples is None:
            source = self.source()
            encoded = encoder.kept(self.choice, source, self.part) if source else None
            if encoded is None:
                return None
            self.examples = examples_of(encoded, self.mask, LEAST_STROKE_SHARE)
        ids = {item.name: item.id for item in prompts.classes}
        now = torch.full((IGNORE_16 + 1,), prompts.ignore)
        for number, name in self.names.items():
            now[number] = ids.get(name, prompts.ignore)
        labels = now[self.examples.labels]
        kept, foreground = labels != prompts.ignore, self.examples.foreground
        if not kept.any():
            return None
        return self.examples._replace(
            features=self.examples.features[kept],
            labels=labels[kept],
            weights=self.examples.weights[kept],
            foreground=None if foreground is None else foreground[kept],
        )


class Lesson:
    """What all strokes until now teach, found out once and by the thread that labels.

    Parameters
    ----------
    strokes
        Of all images.
    before
        What was learnt earlier, from a file; None if nothing.

    Attributes
    ----------
    learned
        What was learnt; None until a request was worked off.
    """

    def __init__(self, strokes: Iterable[Strokes], before: Learned | None) -> None:
        self._strokes, self._before = tuple(strokes), before
        self._prompts: PromptSet | None = None
        self.learned: Learned | None = None

    def teach(
        self, encoded: EncodedImage, choice: ModelChoice, prompts: PromptSet, encoder: Encoder
    ) -> EncodedImage:
        """Return the image such that it is labelled by words and what was learnt."""
        from dinoiser.learning.learn import learn_strokes

        digest = encoded.pipeline.model.digest
        known = self.learned is not None and self.learned.digest == digest
        if not known or self._prompts != prompts:
            # features of other models have other meanings
            same = [s for s in self._strokes if _model(s.choice) == _model(choice)]
            examples = [one for s in same if (one := s.of(prompts, encoder)) is not None]
            before = self._before
            if before is not None and not fits(before, prompts, digest):
                before = None
            self.learned = learn_strokes(examples, prompts, encoded.pipeline, before)
            self._prompts = prompts
        return replace(encoded, pipeline=replace(encoded.pipeline, learned=self.learned))


class StrokeTeacher:
    """Keeps the strokes of all images, and what was learnt earlier.

    Attributes
    ----------
    lesson
        The latest lesson; None while there is nothing to learn.
    """

    def __init__(self) -> None:
        self._strokes: dict[object, Strokes] = {}
        self._before: Learned | None = None
        self.lesson: Lesson | None = None

    def start_from(self, before: Learned | None) -> None:
        """Forget all strokes until now, and go on from what was learnt earlier."""
        self._strokes.clear()
        self._before = before
        self.lesson = None if before is None else Lesson((), before)

    def look(self, painted: Iterable[Strokes]) -> None:
        """Look at what is painted now in the parts of an image."""
        changed = False
        for strokes in painted:
            key = strokes.choice, strokes.source, strokes.part.place
            known = self._strokes.get(key)
            if (strokes.mask == ignore_label(strokes.mask.dtype)).all():
                changed |= self._strokes.pop(key, None) is not None
            elif known is None or not known.same_as(strokes):
                self._strokes[key] = strokes
                changed = True
        if changed:
            some = self._strokes or self._before is not None
            self.lesson = Lesson(self._strokes.values(), self._before) if some else None


def fits(learned: Learned, prompts: PromptSet, digest: str | None) -> bool:
    """Whether something was learnt with these classes and this model."""
    classes = {item.id: item.name for item in prompts.classes}
    return learned.classes == classes and learned.digest == digest


def _model(choice: ModelChoice) -> tuple[object, object]:
    return choice.name, choice.heads
