"""Learn classes from corrected images, as far as left-out images confirm it, or from strokes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.special import stdtrit  # type: ignore[import-untyped]

from dinoiser.errors import InputError
from dinoiser.labels import ignore_label
from dinoiser.learning.classifier import cost_factor, fit_shifts
from dinoiser.learning.examples import Examples, examples_of
from dinoiser.learning.learned import Learned
from dinoiser.learning.prototypes import replace_words
from dinoiser.models.base import PatchFeatures
from dinoiser.models.device import own_torch
from dinoiser.prompts import PromptSet
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.scoring import (
    LEARNT_AT,
    class_cosines,
    phrase_probabilities,
    score_patches,
    threshold_cosine,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from dinoiser.segment.encoded_image import EncodedImage

WORDS, REPLACED, LEAST = 0, 1, 2
"""The first of what is tried: words alone, failing words replaced, the least move from there."""
LEAST_PENALTY = 0.3
LARGER_PENALTIES = (0.1, 0.03, 0.003, 0.0003)
"""Of moves that start at the words, whose examples are balanced."""
PENALTIES = (float("inf"), float("inf"), LEAST_PENALTY, *LARGER_PENALTIES)
BALANCE = 0.5
"""Examples of a class of n patches weigh n to the power of one minus this, all together; of the
least move, n: it keeps to what is frequent, and harms the words less."""
FAILING = 0.05
"""Words of a class fail below this IoU."""
REPAIRED = 0.3
"""Their class's IoU on left-out images with which examples take their place."""
FEW_IMAGES = 5
"""With fewer, what left-out images say is mostly chance: there is no least move, which lost 0.04
of mean IoU on drawn sets, and more of them have to show a class whose words fail."""
FEWEST_OF_FAILING = 2
"""Images with examples of a class whose words fail: one shows it, and another confirms it."""
FEWEST_OF_FAILING_IN_FEW = 3
"""The same among few images: with two, mean IoU fell by 0.08 on one drawn set."""
FEWEST_IMAGES = 3
"""With two, gains that are alike by chance look certain: mean IoU fell by 0.10 on one drawn set."""
CERTAINTY = 0.95
"""That the gain of a larger move is none by chance."""
LEAST_GAIN = 0.05
"""Of mean IoU on left-out images, for larger moves: below, what is gained there was lost on
others."""
TINY_GAIN = 0.005
"""The same for the least move: smaller gains were luck, and lost 0.04 on one drawn set."""
STROKE_PENALTY = 1e-3
"""Of the length of what strokes teach, as strokes of one class say nothing of others: what is the
same for all patches must cost something. A person sees at once what it does, so nothing is left
out to judge it."""
MOST_PATCHES = 300
"""Of a class in an image."""
MOST_PARTS = 8
"""Images are left out one at a time, or in so many groups."""


class _Trial(NamedTuple):
    """One way to learn: the IoU of each left-out image, and intersections and unions of classes."""

    scores: np.ndarray  # (n,)
    overlaps: np.ndarray  # (2, K)


@own_torch()
def learn(
    images: Iterable[tuple[EncodedImage, np.ndarray]], prompts: PromptSet, pipeline: Pipeline
) -> Learned:
    """Learn from corrected images, next to the words.

    Classes start at their words and move as far as the examples justify, see
    `fit_shifts`; where words find nothing at all, examples may take their place,
    see `replace_words`. How far is chosen by labelling images that were left out.
    Words alone are among the choices: the least move has to be better there, and
    a larger one better by `LEAST_GAIN` with a certainty of `CERTAINTY`, by
    Student's t over images.

    Parameters
    ----------
    images
        Images encoded by the pipeline, each with its mask (H, W) of class
        ids; see `examples_of`.
    prompts
        The classes.
    pipeline
        The model and how images are cut up.

    Returns
    -------
    Learned
        Without any change if fewer than `FEWEST_IMAGES` are given.

    Raises
    ------
    InputError
        An image is not encoded, or a mask is of another size or type, or has ids of
        no class.
    PromptError
        The classes are no `PromptSet`.
    SettingsError
        The pipeline is none, such as the segmenter itself.
    """
    prompts = PromptSet.expect(prompts)
    pipeline = Pipeline.expect(pipeline)
    examples = [_examples(encoded, mask, prompts).thinned(MOST_PATCHES) for encoded, mask in images]
    words = _Words(pipeline, prompts)
    chosen, shift, before = WORDS, words.no_shift, words.alone(examples)
    after = before
    if len(examples) >= FEWEST_IMAGES:
        replaced, factor = _repairable(examples, words), words.cost(examples)
        moves = partial(words.moves, replaced=replaced, factor=factor)
        trials = _leave_out(examples, words, moves)
        chosen = _choose(trials)
        shift, after = moves(examples)[chosen], trials[chosen].overlaps
    counts = words.count(examples)
    return Learned(
        {item.id: item.name for item in prompts.classes},
        pipeline.model.digest,
        shift,
        PENALTIES[chosen],
        len(examples),
        dict(zip(words.ids, counts, strict=True)),
        words.by_class(before),
        words.by_class(after),
    )


def _examples(encoded: EncodedImage, mask: np.ndarray, prompts: PromptSet) -> Examples:
    """Take the patches of an image as examples of these classes, and refuse those of others."""
    found = examples_of(encoded, mask)
    ids = sorted(item.id for item in prompts.classes)
    others = sorted({*found.labels.tolist()} - {*ids})
    if others:
        msg = (
            f"a mask holds the id {others[0]}, which is no class: expected "
            f"{', '.join(map(str, ids))}, or {ignore_label(mask.dtype)} for what is ignored"
        )
        raise InputError(msg)
    return found


def learn_strokes(
    examples: Sequence[Examples],
    prompts: PromptSet,
    pipeline: Pipeline,
    before: Learned | None = None,
) -> Learned:
    """Learn from strokes, next to the words, and fast enough to be done after each.

    Parameters
    ----------
    examples
        Patches with strokes, of each image, see `examples_of`.
    prompts
        The classes.
    pipeline
        The model and how images are cut up.
    before
        What was learnt earlier with the same model and classes: strokes go on
        from there.

    Returns
    -------
    Learned
        Without scores, as no image is left out. Without examples, what was
        learnt before.

    Raises
    ------
    SettingsError
        `before` has another model or classes.
    """
    start = None if before is None else before.shift_for(prompts, pipeline.model)
    words = _Words(pipeline, prompts)
    few = [one.thinned(MOST_PATCHES) for one in examples]
    (shift,) = words.fit(few, (STROKE_PENALTY,), start)
    return Learned(
        {item.id: item.name for item in prompts.classes},
        pipeline.model.digest,
        shift,
        STROKE_PENALTY,
        len(examples),
        dict(zip(words.ids, words.count(examples), strict=True)),
        {},
        {},
    )


class _Words:
    """What the words say about patches, and how it is changed."""

    def __init__(self, pipeline: Pipeline, prompts: PromptSet) -> None:
        self.ids = [item.id for item in prompts.classes]
        self._pipeline = pipeline
        self._embeddings = pipeline.embed(prompts).float().cpu()
        self._phrases = [len(item.phrases) for item in prompts.classes]
        groups = self._embeddings.split(self._phrases)
        self._of_classes = torch.stack([group.mean(0) for group in groups])
        self.no_shift = torch.zeros_like(self._of_classes)
        self._places = torch.zeros(prompts.ignore + 1, dtype=torch.int64)
        self._places[self.ids] = torch.arange(len(self.ids))
        self._has_background = prompts.background is not None

    def moves(self, examples: Sequence[Examples], replaced: Tensor, factor: Tensor) -> list[Tensor]:
        """Return the shift (K, D) of all that is tried, in the order of `PENALTIES`."""
        start = self.replace(examples, replaced)
        [least] = self.fit(examples, (LEAST_PENALTY,), start, factor, balance=0.0)
        return [self.no_shift, start, least, *self.fit(examples, LARGER_PENALTIES, None, factor)]

    def replace(self, examples: Sequence[Examples], failing: Tensor) -> Tensor:
        """Return the shift (K, D) of classes (K,) whose examples take the place of their words."""
        return replace_words(self._of_classes, *self._joined(examples), failing)

    def fit(
        self,
        examples: Sequence[Examples],
        penalties: Sequence[float],
        start: Tensor | None,
        factor: Tensor | None = None,
        balance: float = BALANCE,
    ) -> list[Tensor]:
        """Return the shift (K, D) for each penalty, see `fit_shifts`, from another or from none."""
        if start is None:
            start = self.no_shift
        if not any(len(one.labels) for one in examples):
            return [start] * len(penalties)
        features, targets, weights = self._joined(examples)
        sums = weights.new_zeros(len(self.ids)).index_add(0, targets, weights)
        weights = weights / sums[targets] ** balance
        logits = self._logits(features) + features @ start.T
        shifts = fit_shifts(features, targets, weights, logits, penalties, factor)
        return [start + shift for shift in shifts]

    def cost(self, examples: Sequence[Examples]) -> Tensor:
        """Return the factor (D, D) of what moves cost, see `cost_factor`."""
        return cost_factor(self._joined(examples)[0])

    def failing(self, examples: Sequence[Examples]) -> Tensor:
        """Return the classes (K,) bool that words do not find, and of which there are examples."""
        images = sum((np.array(self.count([one])) > 0 for one in examples), np.zeros(len(self.ids)))
        few = len(examples) < FEW_IMAGES
        fewest = FEWEST_OF_FAILING_IN_FEW if few else FEWEST_OF_FAILING
        failing = (_ious(self.alone(examples)) < FAILING) & (images >= fewest)
        if self._has_background:  # what is none of the others has no look of its own
            failing[0] = False
        return torch.from_numpy(failing)

    def decide(self, some: Examples, shift: Tensor) -> Tensor:
        """Return the places (N,) of the classes that labelling would give to patches."""
        # as an image of one row, so that the code that labels images decides
        foreground = None if some.foreground is None else some.foreground[None, None]
        scoring = self._pipeline.model.scoring
        [scores] = score_patches(
            PatchFeatures(_as_image(some.features), foreground),
            self._embeddings,
            self._phrases,
            scoring,
            has_background=self._has_background,
            delta=self._pipeline.delta,
            shift=shift,
        )
        if scoring.enlarged == "phrases":
            least = scoring.least_background if self._has_background else 0.0
            scores = phrase_probabilities(scores, scoring.temperature, self._phrases, least)
        return scores[:, 0].argmax(0)

    def overlaps(self, some: Examples, shift: Tensor) -> np.ndarray:
        """Return intersections and unions (2, K) of what is decided and what is true."""
        found, true = self.decide(some, shift), self._places[some.labels]
        both = torch.bincount(true[found == true], some.weights[found == true], len(self.ids))
        either = torch.bincount(true, some.weights, len(self.ids)) - both
        either += torch.bincount(found, some.weights, len(self.ids))
        return torch.stack([both, either]).numpy()

    def alone(self, examples: Sequence[Examples]) -> np.ndarray:
        """Return intersections and unions (2, K) of what words alone decide in all images."""
        found = (self.overlaps(one, self.no_shift) for one in examples)
        return sum(found, np.zeros((2, len(self.ids))))

    def count(self, examples: Sequence[Examples]) -> list[int]:
        """Count the patches of each class."""
        labels = [self._places[one.labels] for one in examples]
        total = torch.cat([torch.zeros(0, dtype=torch.int64), *labels])
        return torch.bincount(total, minlength=len(self.ids)).tolist()

    def _joined(self, examples: Sequence[Examples]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features (N, D), targets (N,) and weights (N,) of all images."""
        features = torch.cat([self._of_classes[:0], *(one.features for one in examples)])
        labels = torch.cat([torch.zeros(0, dtype=torch.int64), *(one.labels for one in examples)])
        weights = torch.cat(
            [torch.zeros(0, dtype=torch.float32), *(one.weights for one in examples)]
        )
        return features, self._places[labels], weights

    def by_class(self, overlaps: np.ndarray) -> dict[int, float]:
        """Return the IoU of each class that there is, by its id."""
        ious = zip(self.ids, _ious(overlaps), overlaps[1], strict=True)
        return {number: float(iou) for number, iou, either in ious if either > 0}

    def _logits(self, features: Tensor) -> Tensor:
        """Return what the words say about patches (N, D): logits (N, K)."""
        scoring = self._pipeline.model.scoring
        cosines = class_cosines(_as_image(features), self._embeddings, self._phrases)[0, :, 0].T
        if self._has_background and scoring.background == "threshold":  # its words do not count
            cosines[:, 0] = threshold_cosine(scoring)
        return LEARNT_AT * cosines


def _as_image(features: Tensor) -> Tensor:
    """Arrange patches (N, D) as an image (1, D, 1, N)."""
    return features.T[None, :, None]


def _repairable(examples: Sequence[Examples], words: _Words) -> Tensor:
    """Return the classes (K,) bool whose examples find on left-out images what words do not."""
    failing = words.failing(examples)
    if not failing.any():
        return failing

    def teach(some: Sequence[Examples]) -> list[Tensor]:
        return [words.no_shift, words.replace(some, failing)]

    _, together = _leave_out(examples, words, teach)
    failing = failing & torch.from_numpy(_ious(together.overlaps) >= REPAIRED)
    before, after = _leave_out(examples, words, teach)  # of those that are repaired
    gains = after.scores - before.scores
    # a gain within its error is luck: one of 0.02 on left-out images lost 0.05 on others
    return failing & bool(gains.mean() > _error(gains))


def _leave_out(
    examples: Sequence[Examples],
    words: _Words,
    teach: Callable[[Sequence[Examples]], list[Tensor]],
) -> list[_Trial]:
    """Learn from all images but some, and label these, until each was left out once.

    `teach` returns a shift (K, D) for each way to learn.
    """
    parts = min(len(examples), MOST_PARTS)
    there = np.array([words.count([one]) for one in examples]) > 0  # (n, K)
    found: dict[int, list[np.ndarray]] = {}
    for part in range(parts):
        shifts = teach([one for i, one in enumerate(examples) if i % parts != part])
        for i in range(part, len(examples), parts):
            found[i] = [words.overlaps(examples[i], shift) for shift in shifts]
    overlaps = np.array([found[i] for i in range(len(examples))]).swapaxes(0, 1)  # (ways, n, 2, K)
    # of an image, the classes that are there; others that were found there cost these their IoU
    both, either = overlaps[:, :, 0], overlaps[:, :, 1]
    ious = np.divide(both, either, out=np.zeros_like(both), where=there & (either > 0))
    scores = ious.sum(2) / there.sum(1).clip(1)  # (ways, n)
    return [_Trial(*pair) for pair in zip(scores, overlaps.sum(1), strict=True)]


def _choose(trials: Sequence[_Trial]) -> int:
    """Return the place of the way to take, see `PENALTIES`.

    From five images on, the least move lost 0.011 of mean IoU at worst on drawn sets, and gains
    most on hard scenes; larger ones change much for better or worse, and have to be certain.
    """
    gains = np.array([trial.scores - trials[WORDS].scores for trial in trials])  # (ways, n)
    means, errors = gains.mean(1), _error(gains)
    start = REPLACED if means[REPLACED] > 0 else WORDS
    moves = gains.shape[1] >= FEW_IMAGES and means[LEAST] > means[start] + TINY_GAIN
    careful = LEAST if moves else start
    least = stdtrit(gains.shape[1] - 1, CERTAINTY) * errors
    certain = (means > least) & (means > LEAST_GAIN) & (means > means[careful])
    certain[: LEAST + 1] = False
    if not certain.any():
        return careful
    # the first that is as good as the best within the error
    behind = gains[np.where(certain, means, 0).argmax()] - gains
    return int(np.flatnonzero(certain & (behind.mean(1) <= _error(behind)))[0])


def _error(gains: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean of gains (..., n)."""
    return gains.std(-1, ddof=1) / np.sqrt(gains.shape[-1])


def _ious(overlaps: np.ndarray) -> np.ndarray:
    """Return the IoU (K,) of intersections and unions (2, K); 0 where there is neither."""
    both, either = overlaps
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)
