"""Images that are kept encoded, within a budget."""

import gc
import weakref
from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pytest

from dinoiser.segment.settings import SegmentSettings
from napari_dinoiser.model_choice import ModelChoice
from napari_dinoiser.segment.encoder import Encoder, _bytes
from napari_dinoiser.segment.image_source import ImageSource

CHOICE = ModelChoice("tiny", device="cpu")


@pytest.fixture
def loads():
    return []


@pytest.fixture
def load(tiny, loads):
    def load(name, device, **_):
        loads.append((name, device))
        return tiny

    return load


def source(seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), np.uint8)
    return ImageSource((image,), rgb=True)


def whole(image):
    (part,) = image.parts(())
    return part


def test_an_image_is_looked_at_once(load, looks):
    encoder, image = Encoder(load=load), source()
    first = encoder.encode(CHOICE, image, whole(image))
    assert encoder.encode(CHOICE, image, whole(image)) is first
    assert len(looks) == 1
    encoder.encode(CHOICE, source(), whole(image))
    assert len(looks) == 2


def test_other_settings_need_another_look_but_not_another_model(load, looks, loads):
    encoder, image = Encoder(load=load), source()
    encoder.encode(CHOICE, image, whole(image))
    encoder.encode(replace(CHOICE, settings=SegmentSettings(whole=True)), image, whole(image))
    assert len(looks) == 2
    assert loads == [("tiny", "cpu")]
    encoder.encode(ModelChoice("tiny"), image, whole(image))
    assert len(loads) == 2


def test_memory_is_bounded_and_the_least_recently_used_goes_first(load):
    images = [source(seed) for seed in range(4)]
    size = _bytes(Encoder(load=load).encode(CHOICE, images[0], whole(images[0])))
    assert size > 224 * 224 * 3
    encoder = Encoder(budget=2 * size, load=load)
    for number in (0, 1, 0, 2):
        encoder.encode(CHOICE, images[number], whole(images[number]))
    known = [encoder.knows(CHOICE, image, whole(image)) for image in images]
    assert known == [True, False, True, False]
    encoder.forget(images[0])
    assert not encoder.knows(CHOICE, images[0], whole(images[0]))


def test_nothing_holds_an_image_that_is_forgotten_or_went_first(load):
    encoder = Encoder(budget=1, load=load)
    first, second = source(0), source(1)
    encoder.encode(CHOICE, first, whole(first))
    encoder.encode(CHOICE, second, whole(second))  # the first one goes
    encoder.forget(second)
    gone = [weakref.ref(first), weakref.ref(second)]
    del first, second
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_an_image_larger_than_the_budget_is_kept_alone(load):
    encoder, image = Encoder(budget=1, load=load), source()
    encoder.encode(CHOICE, image, whole(image))
    assert encoder.knows(CHOICE, image, whole(image))


def test_a_cancelled_look_leaves_nothing(load):
    encoder, image = Encoder(load=load), source()
    with pytest.raises(CancelledError):
        encoder.encode(CHOICE, image, whole(image), cancelled=lambda: True)
    assert not encoder.knows(CHOICE, image, whole(image))


def test_a_level_of_a_pyramid_gives_labels_of_the_full_size(load, scene, scene_prompts):
    big = scene.image.repeat(4, 0).repeat(4, 1)
    levels = tuple(big[::step, ::step] for step in (1, 2, 4))
    pyramid, full = ImageSource(levels, rgb=True), ImageSource((big,), rgb=True)
    encoder = Encoder(load=load)
    from_level, from_full = (
        encoder.encode(CHOICE, image, whole(image)).segment(scene_prompts).labels
        for image in (pyramid, full)
    )
    assert from_level.shape == big.shape[:2]
    assert (from_level == from_full).mean() > 0.97
