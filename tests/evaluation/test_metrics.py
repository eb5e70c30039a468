"""The confusion matrix against other people's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score

from dinoiser.evaluation.metrics import ConfusionMatrix
from tests.helpers.series import cases

NAMES = ["sky", "dog", "grass", "road", "car"]


@st.composite
def maps(draw):
    """Random labels: the truth with left-out pixels, the prediction of any class."""
    seed, images = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 3))
    rng = np.random.default_rng(seed)
    true = rng.integers(0, draw(st.integers(1, 5)), (images, 9, 13), np.uint8)
    true[rng.random(true.shape) < 0.2] = 255
    predicted = rng.integers(0, draw(st.integers(1, 5)), true.shape, np.uint8)
    return true, predicted


@given(maps())
@cases(50)
def test_it_counts_as_scikit_learn_does(drawn):
    true, predicted = drawn
    matrix = ConfusionMatrix(NAMES)
    for t, p in zip(true, predicted, strict=True):
        matrix.add(p, t)
    known = true != 255
    classes = range(len(NAMES))
    expected = confusion_matrix(true[known], predicted[known], labels=classes)
    assert matrix.counts[:, :-1].tolist() == expected.tolist()
    assert not matrix.counts[:, -1].any()
    seen = np.union1d(true[known], predicted[known])
    mean = jaccard_score(true[known], predicted[known], labels=seen, average="macro")
    assert matrix.mean() == pytest.approx(mean)


def test_it_agrees_with_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    import torch

    rng = np.random.default_rng(5)
    true = rng.integers(0, 5, (4, 20, 30), np.uint8)
    true[rng.random(true.shape) < 0.1] = 255
    predicted = np.where(rng.random(true.shape) < 0.6, np.minimum(true, 4), 2).astype(np.uint8)
    matrix = ConfusionMatrix(NAMES)
    theirs = torchmetrics.classification.MulticlassJaccardIndex(5, average="none", ignore_index=255)
    for t, p in zip(true, predicted, strict=True):
        matrix.add(p, t)
        theirs.update(torch.from_numpy(p).long(), torch.from_numpy(t).long())
    assert list(matrix.by_class().values()) == pytest.approx(theirs.compute().tolist())


def test_classes_that_are_nowhere_do_not_count():
    matrix = ConfusionMatrix(NAMES)
    matrix.add(np.array([[0, 0, 2]], np.uint8), np.array([[0, 1, 255]], np.uint8))
    assert matrix.by_class() == {"sky": 0.5, "dog": 0.0, "grass": None, "road": None, "car": None}
    assert matrix.mean() == 0.25


def test_pixels_without_an_answer_are_wrong():
    matrix = ConfusionMatrix(["sky", "dog"])
    matrix.add(np.array([[0, 255, 1, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8))
    assert matrix.by_class() == {"sky": 0.5, "dog": 1.0}
    assert matrix.accuracy() == 0.75


def test_nothing_counted_has_no_mean():
    matrix = ConfusionMatrix(["sky"])
    matrix.add(np.zeros((1, 2), np.uint8), np.full((1, 2), 255, np.uint8))
    assert matrix.mean() is None
    assert matrix.accuracy() is None
