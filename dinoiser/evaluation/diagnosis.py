"""What corrected masks say about the words: which class takes from which, and what hurts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dinoiser.evaluation.metrics import ConfusionMatrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dinoiser.prompts import PromptSet
    from dinoiser.segment.encoded_image import EncodedImage
    from dinoiser.segment.pipeline import Pipeline

STEPS = 1000
"""Of confidence, from 0 to 1."""
MOST_FOR_PHRASES = 30
"""Images on which labels are computed again without each phrase."""
LEAST_TAKEN = 0.05
"""Share of a class that another takes from which on it is told."""
LEAST_GAIN = 0.01
"""IoU that leaving out a phrase must gain to be told."""
ALIKE = 0.95
"""Cosine of two classes' phrases from which on they say about the same."""
MOST_TOLD = 10
"""Of the pairs of classes that take from each other, and of those that say the same."""


class Taken(NamedTuple):
    """How much of one class is labelled as another: the share, in [0, 1], of its true pixels."""

    true: str
    found: str
    share: float


class PhraseEffect(NamedTuple):
    """IoU of a class with all of its phrases, and without one."""

    name: str
    phrase: str
    iou: float
    without: float


class Alike(NamedTuple):
    """Phrases of two classes that lie close together, and their cosine."""

    names: tuple[str, str]
    phrases: tuple[str, str]
    cosine: float


@dataclass(frozen=True)
class Diagnosis:
    """What corrected masks say about the words.

    Attributes
    ----------
    matrix
        Pixels by true and found class, in the order of the classes.
    right, wrong
        (STEPS,) int64, pixels found as an object by their confidence, in equal
        steps from 0 to 1.
    phrases
        Phrases without which their class is better, the worst first.
    alike
        Classes that the model can hardly tell apart by their words.
    images
        Number of masks.
    """

    matrix: ConfusionMatrix
    right: np.ndarray
    wrong: np.ndarray
    phrases: list[PhraseEffect]
    alike: list[Alike]
    images: int

    def taken(self) -> list[Taken]:
        """Which classes take pixels from which, the largest shares first."""
        names, counts = self.matrix.names, self.matrix.counts[:, :-1]
        shares = counts / np.maximum(self.matrix.counts.sum(1, keepdims=True), 1)
        pairs = [
            Taken(names[true], names[found], float(shares[true, found]))
            for true, found in zip(*np.nonzero(shares >= LEAST_TAKEN), strict=True)
            if true != found
        ]
        return sorted(pairs, key=lambda pair: -pair.share)

    def threshold(self, precision: float) -> tuple[float, float] | None:
        """Find the lowest confidence that keeps a precision of what is found as an object.

        Parameters
        ----------
        precision
            Share of right pixels among those that are kept, in [0, 1].

        Returns
        -------
        tuple of float, or None
            The confidence, for `PromptSet.ignore_below`, and the share of
            pixels that are kept; None if no confidence is enough.
        """
        right, wrong = (counts[::-1].cumsum()[::-1] for counts in (self.right, self.wrong))
        kept = right + wrong
        enough = (kept > 0) & (right >= precision * kept)
        if not enough.any():
            return None
        step = int(enough.argmax())
        return step / STEPS, float(kept[step] / kept[0])

    def sentences(self, precision: float) -> list[str]:
        """Say in words what is worth telling; the confidence for a precision comes last."""
        return [
            *(
                f"{pair.share:.0%} of your {pair.true} was labelled {pair.found}."
                for pair in self.taken()[:MOST_TOLD]
            ),
            *(
                f'Without the phrase "{effect.phrase}", {effect.name} would have an IoU of '
                f"{effect.without:.2f} instead of {effect.iou:.2f}."
                for effect in self.phrases
            ),
            *(
                f'{pair.names[0]} ("{pair.phrases[0]}") and {pair.names[1]} ("{pair.phrases[1]}") '
                f"say about the same to this model: cosine {pair.cosine:.2f}."
                for pair in self.alike[:MOST_TOLD]
            ),
            self._say_threshold(precision),
        ]

    def _say_threshold(self, precision: float) -> str:
        best = self.threshold(precision)
        if best is None:
            return f"No confidence is enough for a precision of {precision:.0%}."
        if best[0] == 0:
            return f"At least {precision:.0%} of what is found as an object is right."
        return (
            f"--ignore-below {best[0]:g} would make {precision:.0%} of what is found as an object "
            f"right, and keep {best[1]:.0%} of it."
        )


def diagnose(
    images: Iterable[tuple[EncodedImage, np.ndarray]], prompts: PromptSet, pipeline: Pipeline
) -> Diagnosis:
    """Compare what words find with corrected masks.

    Parameters
    ----------
    images
        Images encoded by the pipeline, each with its mask (H, W) of class
        ids, in which ignored pixels are not counted.
    prompts
        The classes.
    pipeline
        What labels.
    """
    counting = _Counting(replace(prompts, ignore_below=0.0))
    some: list[tuple[EncodedImage, np.ndarray]] = []
    for encoded, mask in images:
        counting.add(encoded, mask)
        if len(some) < MOST_FOR_PHRASES:
            some.append((encoded, mask))
    phrases = sorted(_without_phrases(some, prompts), key=lambda one: one.iou - one.without)
    return Diagnosis(
        counting.matrix,
        counting.right,
        counting.wrong,
        phrases,
        list(_alike(prompts, pipeline)),
        counting.images,
    )


class _Counting:
    """Counts the pixels of images by true and found class, and by confidence."""

    def __init__(self, prompts: PromptSet) -> None:
        self.matrix = ConfusionMatrix(prompts.names)
        self.right, self.wrong = np.zeros(STEPS, np.int64), np.zeros(STEPS, np.int64)
        self.images = 0
        self._prompts = prompts
        self._places = np.full(prompts.ignore + 1, prompts.ignore, prompts.label_type)
        self._places[[item.id for item in prompts.classes]] = range(len(prompts.classes))

    def add(self, encoded: EncodedImage, mask: np.ndarray) -> None:
        result = encoded.segment(self._prompts)
        found, true = self._places[result.labels], self._places[mask]
        self.matrix.add(found, true)
        self.images += 1
        objects = true != self._prompts.ignore
        if self._prompts.background is not None:
            objects &= found != 0  # of which the confidence is the filter's, mostly 1
        steps = np.minimum(result.confidence[objects].astype(np.float32) * STEPS, STEPS - 1)
        right = found[objects] == true[objects]
        self.right += np.bincount(steps[right].astype(int), minlength=STEPS)
        self.wrong += np.bincount(steps[~right].astype(int), minlength=STEPS)


def _without_phrases(
    images: list[tuple[EncodedImage, np.ndarray]], prompts: PromptSet
) -> Iterator[PhraseEffect]:
    """Leave out each phrase of classes that have several, and give those that hurt."""
    several = [item for item in prompts.classes if len(item.phrases) > 1]
    before = _ious(images, prompts) if several else {}
    for item in several:
        for phrase in item.phrases:
            left = replace(item, phrases=tuple(p for p in item.phrases if p != phrase))
            classes = tuple(left if c is item else c for c in prompts.classes)
            without = _ious(images, replace(prompts, classes=classes))[item.name]
            iou = before[item.name]
            if iou is not None and without is not None and without >= iou + LEAST_GAIN:
                yield PhraseEffect(item.name, phrase, iou, without)


def _ious(
    images: list[tuple[EncodedImage, np.ndarray]], prompts: PromptSet
) -> dict[str, float | None]:
    counting = _Counting(replace(prompts, ignore_below=0.0))
    for encoded, mask in images:
        counting.add(encoded, mask)
    return counting.matrix.by_class()


def _alike(prompts: PromptSet, pipeline: Pipeline) -> Iterator[Alike]:
    """Give pairs of classes with phrases that the text tower puts close together."""
    owners = [item.name for item in prompts.classes for _ in item.phrases]
    phrases = [phrase for item in prompts.classes for phrase in item.phrases]
    embeddings = pipeline.embed(prompts).float().cpu().numpy()
    cosines = embeddings @ embeddings.T
    for i, j in zip(*np.nonzero(np.triu(cosines, 1) >= ALIKE), strict=True):
        if owners[i] != owners[j]:
            yield Alike((owners[i], owners[j]), (phrases[i], phrases[j]), float(cosines[i, j]))
