"""The recipe of the embedded teacher, and what the shipped one sees."""

import copy

import numpy as np
import pytest
import torch
from dinoiser_training.images import Crops
from dinoiser_training.parallel import Workers
from dinoiser_training.teacher_names import load_teacher
from dinoiser_training.teachers import KeyTeacher, SegmentTeacher
from dinoiser_training.tiny.teacher import (
    WIDE,
    centre_keys,
    draw_images,
    save_teacher,
    train_teacher,
)
from dinoiser_training.validation import objects_iou, pairs_iou
from torch.nn import functional as F

from dinoiser.models.teachers.dino import Dino
from dinoiser.scenes import draw_scenes


@pytest.fixture(scope="module")
def trained():
    threads = torch.get_num_threads()
    yield train_teacher(steps=1, seed=3, workers=Workers())
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pixels():
    return draw_images(np.random.default_rng(5), 40, WIDE.side)


@pytest.mark.slow
def test_the_teacher_that_is_read_is_the_one_that_was_trained(trained, pixels, tmp_path):
    save_teacher(trained.vit, tmp_path / "teacher.safetensors")
    keys = Dino.load(tmp_path / "teacher.safetensors").keys(pixels)
    with torch.no_grad():
        expected = trained(pixels).keys.movedim(-1, 1)
    # the file holds float16, which is good to one part in a thousand
    assert torch.allclose(F.normalize(keys, dim=1), expected, atol=0.01)


@pytest.mark.slow
def test_keys_are_centred_and_nothing_else_changes(trained, pixels):
    vit = copy.deepcopy(trained.vit)
    with torch.no_grad():
        before = vit.forward_features(pixels)
        centre_keys(vit, seed=3)
        assert torch.allclose(vit.forward_features(pixels), before, atol=1e-4)
    old, new = (Dino(v).keys(pixels).mean((0, 2, 3)).norm() for v in (trained.vit, vit))
    assert new < 0.5 * old


class Colours:
    """Mean colours of patches, less grey, in place of keys."""

    patch_size = 8

    def keys(self, pixels):
        return F.avg_pool2d(pixels, 8) - 0.5


def judge(teacher, similar, scenes):
    """Mean IoU of pairs and of objects with the exact segments."""
    found = []
    for scene in scenes:
        pixels = torch.from_numpy(scene.image).permute(2, 0, 1)[None] / 255
        crops = Crops(pixels, torch.from_numpy(scene.labels)[None])
        seen, true = (t.targets(crops, (28, 28)) for t in (teacher, SegmentTeacher("exact")))
        units = (F.normalize(some.features[0].flatten(1), dim=0) for some in (seen, true))
        alike, truly = (unit.T @ unit >= similar for unit in units)
        found.append((pairs_iou(alike, truly), objects_iou(seen.objects, true.objects)))
    return np.mean(found, 0)


def test_at_night_the_shipped_teacher_sees_what_colours_do_not(tiny):
    scenes = list(draw_scenes(8, 8105, (224, 224), domain="night"))
    teacher = load_teacher("dino-tiny", tiny, "fp32")
    pairs, objects = judge(teacher, teacher.similar, scenes)
    # colours do best with this threshold
    others = judge(KeyTeacher(Colours(), "colours"), 0.9, scenes)
    assert pairs > others[0] + 0.05
    assert objects > others[1] + 0.2
