"""The order of images by what correcting them would teach."""

import numpy as np
import pytest

from dinoiser.batch.features import read_mean
from dinoiser.batch.reviews import LabelledImage, Review, read_labelled, sort_images
from dinoiser.batch.usefulness import PICKED, most_useful
from tests.helpers.taught_jobs import draw, label


def image(name, expected_iou=0.5):
    return LabelledImage(name, name, f"/{name}", (2, 2), expected_iou, 0.1, {})


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
