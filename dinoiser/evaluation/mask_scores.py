"""Compare the user's labels with the ground truth, class by class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.errors import InputError
from dinoiser.evaluation.boundaries import Band
from dinoiser.evaluation.mask_files import LabelFiles, open_labels
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.evaluation.scores import BoundaryScore, Score, mean
from dinoiser.labels import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


Name = str | None
"""A class; None for pixels without a prediction."""


@dataclass
class Counts:
    """Pixels of one image or of many.

    Attributes
    ----------
    pairs
        By true and predicted class.
    hits, true, predicted
        Pixels in the bands of boundaries, by class: in both bands and of the
        same class, in the truth's band, in the prediction's.
    """

    pairs: Counter[tuple[Name, Name]] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    true: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add the pixels of other images."""
        for name in ("pairs", "hits", "true", "predicted"):
            getattr(self, name).update(getattr(other, name))

    def iou(self) -> dict[str, float]:
        """IoU in [0, 1] of each class that is in the truth or predicted."""
        by_class = _matrix(self.pairs, []).by_class()
        return {name: iou for name, iou in by_class.items() if iou is not None}

    def boundary_iou(self) -> dict[str, float]:
        """IoU in [0, 1] of the bands, of each class that has one."""
        unions = self.true + self.predicted - self.hits
        return {name: self.hits[name] / unions[name] for name in sorted(unions)}


def score_masks(
    predicted: Path,
    true: Path,
    *,
    band: Band | None = None,
    counting: Callable[[int, int], None] | None = None,
) -> Score:
    """Compare labels with the ground truth.

    Classes are matched by name if both sides have names, and by number
    otherwise. Pixels ignored in the truth (255) are not counted; pixels ignored
    in the prediction count as wrong. Images whose labels cannot be read are the
    score's failures.

    Parameters
    ----------
    predicted, true
        Folders of PNG masks or COCO files, in any combination. The prediction
        must contain all images of the truth, and may contain more.
    band
        The width of boundaries; by default that of the paper.
    counting
        Called with the number of images compared and the total.

    Raises
    ------
    InputError
        No labels can be read, or an image is missing or has another size.
    """
    band = band or Band()
    answers, truth = open_labels(predicted), open_labels(true)
    images = sorted(truth.images)
    missing = [name for name in images if name not in answers.images]
    if missing:
        msg = (
            f"{predicted} has no labels for {len(missing)} of the {len(images)} images in "
            f"{true}, the first is {missing[0]!r}; label them, or remove them from the truth"
        )
        raise InputError(msg)
    _expect_same_sizes(answers, truth, images)
    # without names on one side, both use the names of the other for the same numbers
    by_name = bool(answers.names and truth.names)
    numbers = truth.names or answers.names
    names = (answers.names, truth.names) if by_name else (numbers, numbers)
    total, by_image, failures = Counts(), {}, {}
    for i, name in enumerate(images, start=1):
        try:
            predicted_labels, true_labels = answers.read(name), truth.read(name)
        except InputError as error:
            failures[name] = str(error)
        else:
            counts = count_labels(predicted_labels, true_labels, names, band)
            by_image[name] = (mean(counts.iou()), mean(counts.boundary_iou()))
            total.add(counts)
        if counting:
            counting(i, len(images))
    if not by_image:
        raise InputError(next(iter(failures.values())))
    facts = {
        "predicted": str(predicted),
        "true": str(true),
        "classes_matched_by": "name" if by_name else "number",
    }
    ordered = [_class_name(label, names[1]) for label in sorted({0, *names[1]})]
    return Score(
        f"{predicted} against {true}",
        _matrix(total.pairs, ordered),
        len(by_image),
        facts,
        failures=failures,
        boundary=BoundaryScore(str(band), total.boundary_iou()),
        by_image=by_image,
        notes=(*answers.notes, *truth.notes),
    )


def _expect_same_sizes(answers: LabelFiles, truth: LabelFiles, images: list[str]) -> None:
    differ = [
        (name, predicted, true)
        for name in images
        if (predicted := answers.size(name)) and (true := truth.size(name)) and predicted != true
    ]
    if differ:
        name, predicted, true = differ[0]
        in_all = f" ({len(differ)} of the {len(images)} images differ)" if len(differ) > 1 else ""
        msg = (
            f"{name!r} has labels of {predicted[1]}x{predicted[0]} pixels but a truth of "
            f"{true[1]}x{true[0]}{in_all}; both must be for the same image"
        )
        raise InputError(msg)


def count_labels(
    predicted: np.ndarray,
    true: np.ndarray,
    names: tuple[dict[int, str], dict[int, str]],
    band: Band,
) -> Counts:
    """Count the pixels of one image.

    Parameters
    ----------
    predicted, true
        (H, W) integers, `LEFT_OUT` where nothing is known.
    names
        Names of the predicted and of the true labels.
    band
        The width of boundaries.
    """
    known, counts = true != LEFT_OUT, Counts()
    in_predicted, in_true = (band.within(labels) & known for labels in (predicted, true))
    for (t, p), count in _pairs(true, predicted, known):
        found = None if p == LEFT_OUT else _class_name(p, names[0])
        counts.pairs[_class_name(t, names[1]), found] += count
    for (t, p), count in _pairs(true, predicted, in_true & in_predicted):
        wanted = _class_name(t, names[1])
        if p != LEFT_OUT and wanted == _class_name(p, names[0]):
            counts.hits[wanted] += count
    sides = (counts.predicted, predicted, in_predicted), (counts.true, true, in_true)
    for own_names, (counter, labels, inside) in zip(names, sides, strict=True):
        for label, count in zip(*np.unique(labels[inside], return_counts=True), strict=True):
            if label != LEFT_OUT:
                counter[_class_name(int(label), own_names)] += int(count)
    return counts


def _pairs(
    true: np.ndarray, predicted: np.ndarray, among: np.ndarray
) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield (true label, predicted label) and how many of some pixels have them."""
    # both labels in one integer: the true one in the upper half, the predicted one, made 0 or more,
    # in the lower
    codes = (true[among].astype(np.int64) << 32) + (predicted[among].astype(np.int64) - LEFT_OUT)
    low = (1 << 32) - 1
    for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
        yield (int(code) >> 32, (int(code) & low) + LEFT_OUT), int(count)


def _class_name(label: int, names: dict[int, str]) -> str:
    return names.get(label, "background" if label == 0 else f"label {label}")


def _matrix(pairs: Counter[tuple[Name, Name]], ordered: list[str]) -> ConfusionMatrix:
    """Build the matrix: classes in their order, then labels without a name, if any."""
    seen = {name for pair in pairs for name in pair if name is not None}
    names = [name for name in ordered if name in seen]
    names += sorted(seen.difference(names), key=lambda name: (len(name), name))
    matrix = ConfusionMatrix(names)
    place: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    for (true, predicted), count in pairs.items():
        matrix.counts[place[true], place.get(predicted, len(names))] += count
    return matrix
