"""Compare the user's labels with the ground truth, class by class."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError
from dinoiser.evaluation.mask_files import LEFT_OUT, open_labels
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.evaluation.scores import Score

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dinoiser.evaluation.mask_files import LabelFiles

Pairs = Counter[tuple[str, str | None]]
"""Number of pixels by true and predicted class; None for pixels without a prediction."""


def score_masks(
    predicted: Path, true: Path, counting: Callable[[int, int], None] | None = None
) -> Score:
    """Compare labels with the ground truth.

    Classes are matched by name if both sides have names, and by number
    otherwise. Pixels ignored in the truth (255) are not counted; pixels ignored
    in the prediction count as wrong.

    Parameters
    ----------
    predicted, true
        Folders of PNG masks or COCO files, in any combination. The prediction
        must contain all images of the truth, and may contain more.
    counting
        Called with the number of images compared and the total.

    Raises
    ------
    InputError
        Labels cannot be read, or an image is missing or has another size.
    """
    answers, truth = open_labels(predicted), open_labels(true)
    images = sorted(truth.images)
    missing = [name for name in images if name not in answers.images]
    if missing:
        msg = (
            f"{predicted} has no labels for {len(missing)} of the {len(images)} images in "
            f"{true}, the first is {missing[0]!r}; label them, or remove them from the truth"
        )
        raise InputError(msg)
    # without names on one side, both use the names of the other for the same numbers
    by_name = bool(answers.names and truth.names)
    numbers = truth.names or answers.names
    true_names, predicted_names = (truth.names, answers.names) if by_name else (numbers, numbers)
    pairs: Pairs = Counter()
    for i, name in enumerate(images, start=1):
        for (t, p), count in _count(answers, truth, name).items():
            found = None if p == LEFT_OUT else _class_name(p, predicted_names)
            pairs[_class_name(t, true_names), found] += count
        if counting:
            counting(i, len(images))
    facts = {
        "predicted": str(predicted),
        "true": str(true),
        "classes_matched_by": "name" if by_name else "number",
    }
    ordered = [_class_name(label, true_names) for label in sorted({0, *true_names})]
    return Score(f"{predicted} against {true}", _matrix(pairs, ordered), len(images), facts)


def _count(answers: LabelFiles, truth: LabelFiles, name: str) -> dict[tuple[int, int], int]:
    """Count the pixels of one image by true and predicted label."""
    predicted, true = answers.read(name), truth.read(name)
    if predicted.shape != true.shape:
        msg = (
            f"{name!r} has labels of {predicted.shape[1]}x{predicted.shape[0]} pixels but a truth "
            f"of {true.shape[1]}x{true.shape[0]}; both must be for the same image"
        )
        raise InputError(msg)
    known = true != LEFT_OUT
    # both labels in one integer: the true one in the upper half, the predicted one, made 0 or more,
    # in the lower
    codes = (true[known].astype(np.int64) << 32) + (predicted[known] - LEFT_OUT)
    pairs, counts = np.unique(codes, return_counts=True)
    low = (1 << 32) - 1
    return {
        (pair >> 32, (pair & low) + LEFT_OUT): count
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
    }


def _class_name(label: int, names: dict[int, str]) -> str:
    return names.get(label, "background" if label == 0 else f"label {label}")


def _matrix(pairs: Pairs, ordered: list[str]) -> ConfusionMatrix:
    """Build the matrix: classes in their order, then labels without a name, if any."""
    seen = {name for pair in pairs for name in pair if name is not None}
    names = [name for name in ordered if name in seen]
    names += sorted(seen.difference(names), key=lambda name: (len(name), name))
    matrix = ConfusionMatrix(names)
    place: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    for (true, predicted), count in pairs.items():
        matrix.counts[place[true], place.get(predicted, len(names))] += count
    return matrix
