"""The order in which images are reviewed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.batch.features import read_mean
from dinoiser.batch.review_order import PICKED, most_useful, sort_images
from dinoiser.batch.reviews import LabelledImage, Review, read_labelled
from tests.helpers.taught_jobs import draw, label


def image(name, expected_iou=0.5, pixels=None, work=0.1):
    return LabelledImage(name, name, f"/{name}", (2, 2), expected_iou, work, pixels or {})


def unit(*values):
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


VECTORS = {
    "cat": unit(1, 0, 0),
    "cat again": unit(1, 0.1, 0),
    "dog": unit(0, 1, 0),
    "dog again": unit(0, 1, 0.1),
    "tree": unit(0, 0, 1),
}


def names(images):
    return [one.image for one in images]


def test_one_of_each_kind_comes_before_a_second_one():
    order = names(most_useful([image(name) for name in VECTORS], VECTORS, []))
    assert {name.split()[0] for name in order[:3]} == {"cat", "dog", "tree"}


def test_what_is_like_the_reviewed_ones_comes_late():
    order = names(most_useful([image(name) for name in VECTORS], VECTORS, ["cat", "tree"]))
    assert order[0].startswith("dog")
    assert order[3:] == ["cat", "tree"]


def test_of_two_alike_the_uncertain_one_comes_first():
    images = [image("dog", 0.9), image("dog again", 0.2)]
    assert names(most_useful(images, VECTORS, [])) == ["dog again", "dog"]


def test_images_without_features_come_last_in_the_given_order():
    images = [image("b"), image("dog"), image("a")]
    assert names(most_useful(images, VECTORS, [])) == ["dog", "b", "a"]
    assert names(most_useful(images, {}, [])) == ["b", "dog", "a"]


def test_every_image_comes_once_beyond_those_chosen_one_by_one():
    rng = np.random.default_rng(0)
    vectors = {f"{i:03}": unit(*rng.normal(size=8)) for i in range(PICKED + 50)}
    order = names(most_useful([image(name) for name in vectors], vectors, ["003"]))
    assert sorted(order) == sorted(vectors)


def test_the_vectors_are_those_of_the_kept_features(tmp_path):
    draw(tmp_path / "images", 4)
    label(tmp_path / "images", tmp_path / "out")
    images = read_labelled(tmp_path / "out")
    vectors = {one.image: read_mean(tmp_path / "out", one.stem) for one in images}
    for vector in vectors.values():
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    reviews = {"001.png": Review(image="001.png", state="accepted")}
    order = names(sort_images(images, reviews, "most useful", vectors=vectors))
    assert order[-1] == "001.png"
    assert sorted(order) == names(images)
    assert read_mean(tmp_path / "out", "none") is None
    assert names(sort_images(images, reviews, "most useful")) == names(
        sort_images(images, reviews, "worst")
    )


def test_worst_first_and_nothing_known_before_all():
    images = [
        image("a", 0.9),
        image("b", 0.2),
        image("c", None),
        image("d", 0.2),
    ]
    order = names(sort_images(images, {}, "worst"))
    assert order == ["c", "b", "d", "a"]


def test_most_work_first_and_nothing_known_before_all():
    images = [image(name, work=work) for name, work in zip("abcd", (1, 3, None, 3))]  # noqa: B905
    order = names(sort_images(images, {}, "most work"))
    assert order == ["c", "b", "d", "a"]


def test_by_name():
    images = [image("b"), image("a/z"), image("a/b")]
    order = names(sort_images(images, {}, "file name"))
    assert order == ["a/b", "a/z", "b"]


def test_by_the_share_of_a_class_as_it_is_after_corrections():
    images = [
        image("few", pixels={0: 90, 7: 10}),
        image("none", pixels={0: 100}),
        image("small but full", pixels={7: 4}),
        image("corrected", pixels={7: 100}),
    ]
    reviews = {"corrected": Review(image="corrected", edited=True, pixels={0: 99, 7: 1})}
    order = names(sort_images(images, reviews, "class share", 7))
    assert order == ["small but full", "few", "corrected", "none"]


def test_what_was_ignored_in_8_bits_is_no_share_of_class_255():
    images = [
        image("ignored in 8 bits", pixels={0: 1, 255: 99}),
        image("has it", pixels={0: 90, 255: 10, 65535: 0}),
    ]
    assert names(sort_images(images, {}, "class share", 255)) == ["has it", "ignored in 8 bits"]


@given(st.lists(st.floats(0, 1) | st.none(), max_size=20))
def test_no_image_is_lost(certainties):
    images = [image(f"{i}.png", c) for i, c in enumerate(certainties)]
    for order in ("worst", "most work", "file name", "class share"):
        assert sorted(sort_images(images, {}, order)) == sorted(images)
