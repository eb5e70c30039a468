"""What corrected masks say about the words."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.evaluation.diagnosis import STEPS, Diagnosis, diagnose
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.scenes import draw_scene
from dinoiser.scenes.drawing import SHAPES


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(load_model("tiny", device="cpu", precision="fp32"), refine="none")


@pytest.fixture(scope="module")
def images(segmenter):
    """Encoded scenes, with masks of shapes."""
    found = []
    for i in range(8):
        scene = draw_scene(np.random.default_rng((4, i)), (224, 224))
        ids = [1 + SHAPES.index(name.split(" ", 1)[1]) for name in scene.names]
        found.append((segmenter.encode(scene.image), np.array([0, *ids], np.uint8)[scene.labels]))
    return found


def shapes(**phrases):
    """All shapes as classes, some with other phrases."""
    return PromptSet.from_names(
        {"background": ("background",), **{name: (name,) for name in SHAPES}, **phrases}
    )


def diagnosed(segmenter, images, prompts):
    return diagnose(images, prompts, segmenter.pipeline)


def test_a_class_with_the_word_of_another_loses_its_pixels(segmenter, images):
    # the word of each is the other's
    prompts = shapes(circle=("square",), square=("circle",))
    worst = diagnosed(segmenter, images, prompts).taken()[:2]
    assert {(pair.true, pair.found) for pair in worst} == {
        ("circle", "square"),
        ("square", "circle"),
    }
    assert all(pair.share > 0.5 for pair in worst)


def test_the_phrase_that_hurts_is_named(segmenter, images):
    # squares are no class here, and a star is said to look like one
    prompts = shapes(star=("star", "square"), square=("a square",))
    square = prompts.by_name("square").id
    classes = tuple(item for item in prompts.classes if item.id != square)
    without = [(encoded, np.where(mask == square, 0, mask)) for encoded, mask in images]
    found = diagnosed(segmenter, without, replace(prompts, classes=classes))
    [first, *_] = found.phrases
    assert (first.name, first.phrase) == ("star", "square")
    assert first.without > first.iou


def test_right_words_have_nothing_to_be_told(segmenter, images):
    found = diagnosed(segmenter, images, shapes())
    assert found.phrases == []
    assert all("background" in (pair.true, pair.found) for pair in found.taken())


def test_words_that_say_the_same_are_told(segmenter):
    prompts = PromptSet.from_names({"a": ("brown",), "b": ("beige",), "c": ("circle",)})
    # words that the embedded model does not know are all the same to it
    pairs = [pair.names for pair in diagnose([], prompts, segmenter.pipeline).alike]
    assert pairs == [("a", "b")]


def test_ignored_pixels_do_not_count(segmenter, images):
    nothing = [(encoded, np.full_like(mask, 255)) for encoded, mask in images]
    found = diagnosed(segmenter, nothing, shapes())
    assert found.matrix.counts.sum() == 0
    assert found.threshold(0.9) is None


counts = st.lists(st.integers(0, 50), min_size=STEPS // 50, max_size=STEPS // 50)


@given(counts, counts, st.floats(0.05, 0.99))
def test_the_threshold_is_the_lowest_that_keeps_the_precision(right, wrong, precision):
    right, wrong = (np.repeat(np.array(some), 50) for some in (right, wrong))
    found = Diagnosis(ConfusionMatrix(["a"]), right, wrong, [], [], 1).threshold(precision)

    def is_enough(step):
        good, all_of_it = right[step:].sum(), right[step:].sum() + wrong[step:].sum()
        return all_of_it > 0 and good >= precision * all_of_it

    enough = [step for step in range(STEPS) if is_enough(step)]
    if not enough:
        assert found is None
        return
    confidence, kept = found
    assert confidence == enough[0] / STEPS
    total = right.sum() + wrong.sum()
    assert kept == pytest.approx((right[enough[0] :].sum() + wrong[enough[0] :].sum()) / total)
