"""Segmenter on images whose truth is known."""

import pickle
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinoiser.batch import Labelling
from dinoiser.errors import ImageError, InputError, PromptError, SettingsError
from dinoiser.images import to_rgb
from dinoiser.learning.learn import learn
from dinoiser.models.maskclip import MaskClip
from dinoiser.prompts import PromptSet
from dinoiser.segment.in_parts.lazy import segment_array
from dinoiser.segment.segmenter import Segmenter


def accuracy(result, scene):
    return (result.labels == scene.labels).mean()


def test_classes_are_found_where_they_are(tiny, scene, scene_prompts):
    result = Segmenter(tiny).segment(scene.image, scene_prompts)
    assert result.labels.shape == scene.labels.shape
    assert result.labels.dtype == np.uint8
    assert accuracy(result, scene) > 0.95
    for label in range(1, 4):
        found = result.labels[scene.labels == label]
        assert np.bincount(found).argmax() == label


def test_other_words_do_not_run_the_image_tower(tiny, scene, scene_prompts, monkeypatch):
    encoded = Segmenter(tiny).encode(scene.image)
    expected = Segmenter(tiny).segment(scene.image, scene_prompts)

    def fail(_):
        raise AssertionError("the image tower ran")

    monkeypatch.setattr(tiny.visual.conv1, "forward", fail)
    again = encoded.segment(scene_prompts)
    np.testing.assert_array_equal(again.labels, expected.labels)
    np.testing.assert_allclose(again.confidence, expected.confidence, atol=2e-3)
    fewer = encoded.segment(PromptSet.from_names(["background", scene.names[0]]))
    assert set(np.unique(fewer.labels)) == {0, 1}


@pytest.mark.parametrize("refine", ["none", "edges", "pamr"])
def test_heat_maps_and_confidence_agree_with_the_labels(tiny, scene, scene_prompts, refine):
    result = Segmenter(tiny, refine=refine).segment(scene.image, scene_prompts)
    heat = np.stack([result.probabilities(name) for name in scene_prompts.names])
    assert heat.dtype == np.float32
    ids = np.array([c.id for c in scene_prompts.classes])
    np.testing.assert_array_equal(ids[heat.argmax(0)], result.labels)
    np.testing.assert_allclose(heat.max(0), result.confidence, atol=1e-3)
    with pytest.raises(PromptError, match="wombat"):
        result.probabilities("wombat")


def test_labels_are_the_classes_own_ids(tiny, scene):
    text = f"classes: [{{name: {scene.names[0]}, id: 77}}, {{name: background}}]\nversion: 1\n"
    result = Segmenter(tiny).segment(scene.image, PromptSet.from_yaml(text))
    assert set(np.unique(result.labels)) == {0, 77}


def test_without_a_background_class_every_pixel_gets_a_class(tiny, scene):
    result = Segmenter(tiny).segment(scene.image, PromptSet.from_names(scene.names))
    assert 0 not in result.labels


def test_synonyms_count_as_one_class(tiny, scene):
    words = scene.names[0]
    one = Segmenter(tiny).segment(scene.image, PromptSet.parse(f"background, {words}"))
    both = Segmenter(tiny).segment(
        scene.image, PromptSet.parse(f"background, thing=purple zebra; {words}")
    )
    found = one.labels == 1
    assert found.any()
    assert (both.labels[found] == 1).mean() > 0.98


def test_unsure_pixels_can_be_ignored(tiny, scene, scene_prompts):
    segmenter = Segmenter(tiny)
    plain = segmenter.segment(scene.image, scene_prompts)
    strict = segmenter.segment(scene.image, replace(scene_prompts, ignore_below=0.9))
    unsure = plain.confidence < 0.9
    assert 0 < unsure.mean() < 0.5
    assert (strict.labels[unsure] == 255).all()
    np.testing.assert_array_equal(strict.labels[~unsure], plain.labels[~unsure])
    assert strict.pixel_counts()[255] == unsure.sum()


def test_the_ranking_of_a_pixel_is_that_of_the_heat_maps(tiny, scene, scene_prompts):
    result = Segmenter(tiny).segment(scene.image, scene_prompts)
    maps = {name: result.probabilities(name)[100, 40] for name in scene_prompts.names}
    ranking = result.ranking(100, 40)
    assert dict(ranking) == pytest.approx(maps, abs=1e-6)
    assert [p for _, p in ranking] == sorted(maps.values(), reverse=True)
    assert ranking[0][0] == {c.id: c.name for c in scene_prompts.classes}[result.labels[100, 40]]


def test_encoding_tells_how_far_it_is_and_can_be_stopped(tiny, scene):
    wide, told = np.concatenate([scene.image] * 3, 1), []
    segmenter = Segmenter(tiny, batch_size=1)
    segmenter.encode(wide, progress=lambda *counts: told.append(counts))
    total = told[-1][1]
    assert total > 3
    assert told == [(i, total) for i in range(1, total + 1)]
    told.clear()
    with pytest.raises(CancelledError):
        segmenter.encode(wide, progress=lambda *c: told.append(c), cancelled=lambda: len(told) == 2)
    assert len(told) == 2


@pytest.mark.parametrize("refine", ["edges", "pamr"])
def test_refinement_brings_edges_nearer_to_the_truth(tiny, scene, scene_prompts, refine):
    plain = Segmenter(tiny, refine="none").segment(scene.image, scene_prompts)
    refined = Segmenter(tiny, refine=refine).segment(scene.image, scene_prompts)
    assert accuracy(refined, scene) > accuracy(plain, scene) + 0.005


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (5, 3), (223, 700)])
@pytest.mark.parametrize("whole", [False, True], ids=["windows", "whole"])
def test_any_size(tiny, size, whole):
    image = np.full((*size, 3), 200, np.uint8)
    result = Segmenter(tiny, whole=whole).segment(image, PromptSet.parse("background, red star"))
    assert result.labels.shape == result.confidence.shape == size


@pytest.mark.parametrize("whole", [False, True], ids=["windows", "whole"])
def test_the_number_of_windows_in_a_pass_changes_nothing(tiny, scene, scene_prompts, whole):
    wide = np.concatenate([scene.image, scene.image[:, ::-1]], 1)
    results = [
        Segmenter(tiny, whole=whole, batch_size=n).segment(wide, scene_prompts) for n in (1, 3)
    ]
    np.testing.assert_array_equal(results[0].labels, results[1].labels)


def test_a_model_without_heads_asks_for_the_background_by_word_alone(tiny, scene, scene_prompts):
    result = Segmenter(MaskClip(tiny.clip, windows=tiny.windows)).segment(
        scene.image, scene_prompts
    )
    assert accuracy(result, scene) > 0.9


def test_models_bring_their_window_sizes(tiny):
    assert Segmenter(tiny).pipeline.windows.short_side == 224
    assert Segmenter(tiny, window=100).pipeline.windows.stride == 100
    sizes = Segmenter(tiny, short_side=96, window=96, stride=48).pipeline.windows
    assert sizes.stride == 48


def test_half_precision_sees_the_same(tiny, scene, scene_prompts):
    from dinoiser.models.load import load_model

    half = load_model("tiny", device="cpu", precision="bf16")
    assert half.dtype == torch.bfloat16
    assert accuracy(Segmenter(half).segment(scene.image, scene_prompts), scene) > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refine": "magic"}, "magic.*edges"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"window": 64, "stride": 65}, "stride is 65.*window of 64"),
        ({"short_side": 0}, "short_side is 0"),
    ],
)
def test_wrong_settings(tiny, settings, message):
    with pytest.raises(SettingsError, match=message):
        Segmenter(tiny, **settings)


@pytest.mark.parametrize("mode", ["P", "CMYK", "LA", "RGBA", "L", "1", "RGB"])
@pytest.mark.parametrize("height", [5, 3])
def test_pillow_images_have_the_colours_that_their_mode_says(tiny, mode, height):
    picture = Image.new("RGB", (7, height), (250, 20, 40))
    picture.paste((20, 30, 240), (3, 0, 7, height))
    picture = picture.convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    encoded = Segmenter(tiny).encode(picture)
    np.testing.assert_array_equal(encoded.image, expected)


def test_masked_values_of_deep_arrays_do_not_stretch_them(tiny):
    deep = np.linspace(0, 1000, 30).astype(np.uint16).reshape(5, 6)
    deep[0, 0] = 65535
    masked = np.ma.masked_equal(deep, 65535)
    np.testing.assert_array_equal(Segmenter(tiny).encode(masked).image, to_rgb(masked))


def test_read_only_images_are_segmented_without_a_warning(tiny, scene, scene_prompts):
    image = scene.image.copy()
    image.flags.writeable = False
    expected = Segmenter(tiny).segment(scene.image, scene_prompts).labels
    for read_only in (image, Image.fromarray(image)):
        before = torch.is_warn_always_enabled()
        torch.set_warn_always(True)
        try:
            result = Segmenter(tiny).segment(read_only, scene_prompts)
        finally:
            torch.set_warn_always(before)
        np.testing.assert_array_equal(result.labels, expected)


def test_what_is_no_image_is_refused(tiny):
    with pytest.raises(ImageError):
        Segmenter(tiny).segment(np.zeros((4, 5, 6, 7)), PromptSet.parse("dog"))


@pytest.mark.parametrize("words", ["dog, cat", ["dog", "cat"], {"dog": ["puppy"]}, None])
def test_words_that_are_no_prompt_set_are_refused_before_the_image_is_encoded(
    tiny, scene, scene_prompts, words, monkeypatch
):
    encoded = Segmenter(tiny).encode(scene.image)
    monkeypatch.setattr(tiny.visual.conv1, "forward", lambda _: pytest.fail("the tower ran"))
    kind = f"the prompts are a {type(words).__name__}, expected a PromptSet, such as"
    for ask in (
        lambda: Segmenter(tiny).segment(scene.image, words),
        lambda: encoded.segment(words),
        lambda: segment_array(scene.image, words, tiny),
        lambda: learn([(encoded, scene.labels)], words, encoded.pipeline),
        lambda: Labelling(words),
    ):
        with pytest.raises(PromptError, match=kind):
            ask()


def test_names_in_place_of_what_they_name_are_refused_with_the_cure(tiny):
    with pytest.raises(SettingsError, match=r"expected.*dinoiser.load_model\('tiny'\)"):
        Segmenter("tiny")
    with pytest.raises(SettingsError, match=r"expected.*Learned.load\('a.safetensors'\)"):
        Segmenter(tiny, learned=Path("a.safetensors"))


def test_what_is_no_model_pipeline_or_example_is_refused_in_a_sentence(tiny, scene, scene_prompts):
    segmenter = Segmenter(tiny)
    encoded = segmenter.encode(scene.image)
    result = encoded.segment(scene_prompts)
    with pytest.raises(SettingsError, match="model is a NoneType, expected what dinoiser"):
        Segmenter(None)
    with pytest.raises(SettingsError, match="model is a Segmenter, expected what"):
        segment_array(scene.image, scene_prompts, segmenter)
    with pytest.raises(SettingsError, match=r"pipeline is a Segmenter, expected .* its \.pipeline"):
        learn([(encoded, result.labels)], scene_prompts, segmenter)
    for pair in ((scene.image, result.labels), (encoded, result)):
        with pytest.raises(InputError, match=r"expected an image from segmenter\.encode"):
            learn([pair], scene_prompts, segmenter.pipeline)
    with pytest.raises(PromptError, match="is 1, expected text such as 'dog'"):
        result.probabilities(1)


def test_a_pixel_beyond_the_image_has_no_ranking(tiny, scene, scene_prompts):
    result = Segmenter(tiny).segment(scene.image, scene_prompts)
    rows, columns = result.labels.shape
    assert len(result.ranking(rows - 1, columns - 1)) == len(scene_prompts.classes)
    for row, column in [(rows, 0), (0, columns), (-1, 0), (0, -1), (10**6, 0)]:
        with pytest.raises(InputError, match=f"no pixel at row {row}, column {column}: .*{rows}"):
            result.ranking(row, column)


def test_models_and_what_they_encoded_can_be_sent_to_other_processes(tiny, scene, scene_prompts):
    segmenter = Segmenter(tiny)
    encoded, expected = segmenter.encode(scene.image), segmenter.segment(scene.image, scene_prompts)
    new_words = PromptSet.from_names(["background", scene.names[0], "a word from elsewhere"])
    sent, sent_encoded = pickle.loads(pickle.dumps((segmenter, encoded)))
    found = sent.segment(scene.image, scene_prompts)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(
        sent_encoded.segment(new_words).labels, encoded.segment(new_words).labels
    )


def test_results_say_in_a_line_what_they_are(tiny, scene, scene_prompts):
    segmenter = Segmenter(tiny)
    encoded = segmenter.encode(scene.image)
    height, width = scene.labels.shape
    assert repr(encoded.segment(scene_prompts)) == (
        f"Segmentation({height} x {width} pixels, PromptSet({', '.join(scene_prompts.names)}))"
    )
    assert repr(encoded).startswith(f"EncodedImage({height} x {width} pixels, ")
    assert "refine='edges'" in repr(segmenter)
    learned = learn([(encoded, scene.labels)], scene_prompts, segmenter.pipeline)
    for one in (encoded, segmenter, learned):
        assert "0x" not in repr(one)
        assert "tensor" not in repr(one)


def test_results_are_equal_if_their_pixels_are(tiny, scene, scene_prompts):
    segmenter = Segmenter(tiny)
    encoded = segmenter.encode(scene.image)
    result = encoded.segment(scene_prompts)
    assert result == segmenter.segment(scene.image, scene_prompts)
    assert result != encoded.segment(PromptSet.parse("background, snow"))
    assert result != replace(result, labels=np.zeros_like(result.labels))
    assert result != scene.labels.tolist()
    assert encoded in [segmenter.encode(scene.image), encoded]
    once, again = (
        learn([(encoded, scene.labels)], scene_prompts, segmenter.pipeline) for _ in "ab"
    )
    assert once == again
    assert once != learn([], scene_prompts, segmenter.pipeline)
