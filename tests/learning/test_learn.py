"""Learning from corrected masks: it helps where words fail, and says no more than it has seen."""

import subprocess
import sys
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from dinoiser import Learned, PromptSet, Segmenter, learn
from dinoiser.errors import CheckpointError, InputError, SettingsError
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.learning.classifier import cost_factor, fit_shifts
from dinoiser.learning.examples import LEAST_STROKE_SHARE, examples_of
from dinoiser.learning.learn import learn_strokes
from dinoiser.models.base import Scoring
from dinoiser.models.dinotxt import SCORING as DINOTXT
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.naclip import NaClip
from dinoiser.models.talk2dino import Talk2Dino
from dinoiser.scenes import draw_scene
from dinoiser.scenes.drawing import OTHER_COLORS, SHAPES

NO_WORDS = PromptSet.from_names(["background", *OTHER_COLORS])
SHAPE_WORDS = PromptSet.from_names(["background", *SHAPES])


@pytest.fixture(scope="module")
def segmenter(tiny):
    return Segmenter(tiny, refine="none")


@pytest.fixture(scope="module")
def colours(segmenter):
    """Images of colours that the model has no word for, and their masks by colour."""
    scenes = [draw_scene(np.random.default_rng((5, i)), colors=OTHER_COLORS) for i in range(24)]
    numbers = [[1 + OTHER_COLORS.index(name.split()[0]) for name in s.names] for s in scenes]
    return [
        (segmenter.encode(s.image), np.array([0, *some], np.uint8)[s.labels])
        for s, some in zip(scenes, numbers, strict=True)
    ]


@pytest.fixture(scope="module")
def taught(segmenter, colours):
    return learn(colours[:10], NO_WORDS, segmenter.pipeline)


@pytest.fixture
def moved(tiny):
    """As if something had been learnt."""
    torch.manual_seed(1)
    classes = {item.id: item.name for item in NO_WORDS.classes}
    shift, none = torch.randn(len(classes), 128) * 10, dict.fromkeys(classes, 0.0)
    return Learned(classes, tiny.digest, shift, 1e-3, 5, dict.fromkeys(classes, 9), none, none)


def mean_iou(images, prompts, learned=None):
    matrix = ConfusionMatrix(list(prompts.names))
    for encoded, truth in images:
        pipeline = replace(encoded.pipeline, learned=learned)
        matrix.add(replace(encoded, pipeline=pipeline).segment(prompts).labels, truth)
    return np.nanmean(list(matrix.by_class().values()))


@pytest.mark.slow
def test_what_has_no_words_is_learnt_from_a_few_corrected_images(colours, taught):
    unseen = colours[10:]
    assert taught.moves
    assert mean_iou(unseen, NO_WORDS) < 0.25
    assert mean_iou(unseen, NO_WORDS, taught) > 0.28
    assert np.mean(list(taught.learned.values())) > np.mean(list(taught.words.values()))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
def test_where_words_are_right_nothing_is_lost(segmenter, seed):
    scenes = [draw_scene(np.random.default_rng((seed, i))) for i in range(36)]
    numbers = [[1 + SHAPES.index(name.split()[1]) for name in scene.names] for scene in scenes]
    images = [
        (segmenter.encode(scene.image), np.array([0, *some], np.uint8)[scene.labels])
        for scene, some in zip(scenes, numbers, strict=True)
    ]
    for count in (3, 6, 12):
        learned = learn(images[:count], SHAPE_WORDS, segmenter.pipeline)
        words, both = (mean_iou(images[12:], SHAPE_WORDS, one) for one in (None, learned))
        assert both >= words - 0.01


@pytest.mark.slow
def test_three_hard_images_that_agree_by_chance_do_no_harm(segmenter):
    # on these, examples in place of failing words looked better on left-out images, and lost 0.08
    scenes = {
        i: draw_scene(np.random.default_rng((13, i)), (224, 224), hard=True)
        for i in (*range(20), 80, 81, 82)
    }
    images = []
    for scene in scenes.values():
        numbers = [0, *(1 + SHAPES.index(name.split()[1]) for name in scene.names)]
        images.append((segmenter.encode(scene.image), np.array(numbers, np.uint8)[scene.labels]))
    learned = learn(images[20:], SHAPE_WORDS, segmenter.pipeline)
    words, both = (mean_iou(images[:20], SHAPE_WORDS, one) for one in (None, learned))
    assert both >= words - 0.01


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_images_leave_the_words_labels_bit_for_bit(segmenter, colours, scene, count):
    learned = learn(colours[:count], NO_WORDS, segmenter.pipeline)
    words = Segmenter(segmenter.pipeline.model).segment(scene.image, NO_WORDS)
    both = Segmenter(segmenter.pipeline.model, learned=learned).segment(scene.image, NO_WORDS)
    np.testing.assert_array_equal(words.labels, both.labels)
    np.testing.assert_array_equal(words.confidence, both.confidence)


@pytest.mark.slow
def test_the_same_images_teach_the_same_bits(segmenter, colours, taught):
    again = learn(colours[:10], NO_WORDS, segmenter.pipeline)
    assert torch.equal(again.shift, taught.shift)


def test_a_file_brings_it_back_whole(moved, tmp_path):
    moved.save(tmp_path / "a.safetensors")
    again = Learned.load(tmp_path / "a.safetensors")
    assert torch.equal(again.shift, moved.shift)
    assert vars(again) | {"shift": None} == vars(moved) | {"shift": None}


def test_its_file_is_free_once_it_is_loaded(moved, tmp_path):
    path = tmp_path / "a.safetensors"
    moved.save(path)
    again = Learned.load(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert again.identity == moved.identity
    again.save(path)
    assert Learned.load(path).identity == moved.identity


def test_other_files_are_refused(tiny, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        Learned.load(path)
    from safetensors.torch import save_file

    save_file({"shift": torch.zeros(2, 3)}, path)
    with pytest.raises(CheckpointError, match="dinoiser improve"):
        Learned.load(path)


def test_other_classes_and_other_models_are_refused(segmenter, moved, scene):
    other = PromptSet.from_names(["background", "brown", "grey"])
    model = segmenter.pipeline.model
    with pytest.raises(SettingsError, match="1 brown"):
        Segmenter(model, learned=moved).segment(scene.image, other)
    stranger = replace(moved, digest="0" * 64)
    with pytest.raises(SettingsError, match="another model"):
        Segmenter(model, learned=stranger).segment(scene.image, NO_WORDS)


def test_the_order_of_classes_does_not_matter(segmenter, moved, scene):
    turned = PromptSet((NO_WORDS.classes[0], *NO_WORDS.classes[:0:-1]))
    segmenter = Segmenter(segmenter.pipeline.model, learned=moved)
    one, other = (segmenter.segment(scene.image, prompts) for prompts in (NO_WORDS, turned))
    np.testing.assert_array_equal(one.labels, other.labels)


def test_pixels_to_ignore_teach_nothing(segmenter, colours):
    encoded, mask = colours[0]
    ignored = np.where(mask == mask.max(), 255, mask).astype(np.uint8)
    assert set(examples_of(encoded, ignored).labels.tolist()) <= set(
        np.unique(mask[mask < mask.max()])
    )
    assert len(examples_of(encoded, np.full_like(mask, 255)).labels) == 0


def test_a_thin_choice_weighs_as_much_as_all(colours):
    examples = examples_of(*colours[0])
    few = examples.thinned(7)
    for label in examples.labels.unique():
        kept = few.labels == label
        assert kept.sum() <= 7
        total = examples.weights[examples.labels == label].sum()
        assert torch.isclose(few.weights[kept].sum(), total)


@pytest.mark.parametrize("by_spread", [False, True])
def test_the_fit_is_the_minimum_and_leaves_classes_without_examples(by_spread):
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(40, 6), dim=1)
    targets, weights, logits = torch.randint(0, 2, (40,)), torch.rand(40) + 0.5, torch.randn(40, 3)
    factor = cost_factor(features) if by_spread else None
    [shift] = fit_shifts(features, targets, weights, logits, [1e-2], factor)
    assert not shift[2].any()

    def loss(change):
        moved = logits + features @ change.T
        cross = torch.nn.functional.cross_entropy(moved, targets, reduction="none")
        length = change.square().sum() if factor is None else (change @ factor).square().sum()
        return (weights / weights.sum() * cross).sum() + 1e-2 * length

    least = loss(shift)
    for seed in range(20):
        torch.manual_seed(seed)
        step = torch.randn(3, 6) * 0.05
        step[2] = 0
        assert loss(shift + step) > least
    [none] = fit_shifts(features, targets, weights, logits, [float("inf")])
    assert not none.any()


FITTED = """
import sys, torch
from dinoiser.learning.classifier import fit_shifts
from dinoiser.learning.learn import learn_strokes
features = torch.nn.functional.normalize(torch.rand(50, 8), dim=1)
[shift] = fit_shifts(features, torch.arange(50) % 2, torch.ones(50), torch.zeros(50, 2), [1e-2])
assert shift.abs().max() > 0
print(sorted({"torch._dynamo", "scipy.stats"} & sys.modules.keys()))
"""


def test_the_first_stroke_waits_for_no_slow_import():
    done = subprocess.run(
        [sys.executable, "-c", FITTED], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_is_the_same_for_all_patches_costs_little():
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(400, 6) * 0.1 + torch.ones(6), dim=1)
    mean = features.mean(0)
    across = torch.linalg.qr(torch.stack([mean, *torch.eye(6)[:5]]).T).Q.T[1:] * mean.norm()
    same, *others = ((change @ cost_factor(features)).square().sum() for change in (mean, *across))
    assert same < 0.5 * min(others)


def test_images_that_are_all_alike_can_be_learnt_from(segmenter):
    white = np.full((64, 64, 3), 255, np.uint8)
    images = [(segmenter.encode(white), np.zeros((64, 64), np.uint8))] * 3
    learned = learn(images, SHAPE_WORDS, segmenter.pipeline)
    assert learned.shift.isfinite().all()


def test_a_wrong_word_is_replaced_and_right_ones_stay(segmenter):
    """The word of circles finds none of them."""
    words = PromptSet.from_names(["background", "sky", *SHAPES[1:]])
    scenes = (draw_scene(np.random.default_rng((7, i))) for i in range(60))
    images = []
    for scene in scenes:
        numbers = [1 + SHAPES.index(name.split()[1]) for name in scene.names]
        if 1 in numbers and len(images) < 10:
            mask = np.array([0, *numbers], np.uint8)[scene.labels]
            images.append((segmenter.encode(scene.image), mask))
    learned = learn(images[:6], words, segmenter.pipeline)
    assert learned.words[1] < 0.05
    assert learned.learned[1] > 0.3
    assert mean_iou(images[6:], words, learned) > mean_iou(images[6:], words) + 0.05


@pytest.fixture(scope="module")
def strokes(colours):
    """A thin line through each object and the background of some images."""
    painted = []
    for encoded, truth in colours[:4]:
        mask = np.full_like(truth, 255)
        mask[::24] = truth[::24]
        mask[1::24] = truth[1::24]
        painted.append(examples_of(encoded, mask, LEAST_STROKE_SHARE))
    return painted


def test_strokes_teach_colours_without_words_also_to_other_images(segmenter, colours, strokes):
    taught = learn_strokes(strokes, NO_WORDS, segmenter.pipeline)
    unseen = colours[16:]
    words = mean_iou(unseen, NO_WORDS)
    assert mean_iou(unseen, NO_WORDS, taught) > words + 0.05


METHODS = {
    "naclip": NaClip.scoring,
    "dinotxt over DINOv2": DINOTXT[2],
    "dinotxt over DINOv3": DINOTXT[3],
    "tips": Scoring(1.0, confidence_temperature=100.0, enlarged="cosines", background="class"),
    "talk2dino": Talk2Dino.scoring_at(0.55),
}


@pytest.fixture(scope="module")
def plain(tiny, colours):
    """The same images by the embedded CLIP alone."""
    segmenter = Segmenter(MaskClip(tiny.clip, windows=tiny.windows), refine="none")
    return [(segmenter.encode(encoded.image), truth) for encoded, truth in colours]


@pytest.fixture(params=METHODS)
def scored(request, plain):
    """These images, scored by the rules of another method."""
    pipeline = plain[0][0].pipeline
    model = copy(pipeline.model)
    model.scoring = METHODS[request.param]
    return [(replace(one, pipeline=replace(pipeline, model=model)), mask) for one, mask in plain]


def test_strokes_teach_every_method(scored):
    pipeline, unseen = scored[0][0].pipeline, scored[12:]
    taught = learn_strokes([examples_of(*image) for image in scored[:12]], NO_WORDS, pipeline)
    words = mean_iou(unseen, NO_WORDS)
    assert mean_iou(unseen, NO_WORDS, taught) > words + 0.01
    nothing = learn_strokes([], NO_WORDS, pipeline)
    assert mean_iou(unseen, NO_WORDS, nothing) == words


@pytest.mark.slow
def test_images_teach_every_method(scored):
    taught = learn(scored[:12], NO_WORDS, scored[0][0].pipeline)
    assert taught.moves
    assert mean_iou(scored[12:], NO_WORDS, taught) > mean_iou(scored[12:], NO_WORDS) + 0.03


def test_without_strokes_the_words_labels_stay_bit_for_bit(segmenter, colours):
    encoded, _ = colours[0]
    taught = learn_strokes([], NO_WORDS, segmenter.pipeline)
    words = encoded.segment(NO_WORDS)
    pipeline = replace(encoded.pipeline, learned=taught)
    both = replace(encoded, pipeline=pipeline).segment(NO_WORDS)
    np.testing.assert_array_equal(words.labels, both.labels)
    np.testing.assert_array_equal(words.confidence, both.confidence)


def test_strokes_go_on_from_what_was_learnt_before(segmenter, strokes, moved):
    kept = learn_strokes([], NO_WORDS, segmenter.pipeline, moved)
    assert torch.equal(kept.shift, moved.shift)
    taught = learn_strokes(strokes[:1], NO_WORDS, segmenter.pipeline, moved)
    untouched = [i for i, number in enumerate(taught.classes) if not taught.examples[number]]
    assert torch.equal(taught.shift[untouched], moved.shift[untouched])
    assert not torch.equal(taught.shift, moved.shift)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda mask: mask[:-1], "shape .*expected the shape"),
        (lambda mask: mask[..., None], "shape .*expected the shape"),
        (lambda mask: mask.astype(np.int64), "int64, expected .*uint8 or uint16"),
        (lambda mask: mask > 0, "bool, expected .*uint8 or uint16"),
        (lambda mask: np.full_like(mask, 77), "the id 77, which is no class: expected 0, 1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(segmenter, colours, spoil, message):
    encoded, mask = colours[0]
    with pytest.raises(InputError, match=message):
        learn([(encoded, spoil(mask))], NO_WORDS, segmenter.pipeline)
