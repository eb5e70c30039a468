"""Losses and steps: the published code's numbers, and what holds whatever the numbers."""

import numpy as np
import open_clip
import pytest
import torch
from dinoiser_training import losses as losses_module
from dinoiser_training.images import Crops
from dinoiser_training.losses import correlation_loss, objectness_loss
from dinoiser_training.settings import FitSettings
from dinoiser_training.student import accumulate, losses_of, make_optimizer, prepare, set_rates
from dinoiser_training.teachers import DinoTeacher
from safetensors.torch import load_file
from torch.nn import functional as F

from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.maskclip import MaskClip
from tests.helpers.places import GOLDENS
from tests.helpers.teacher_goldens import small_teachers


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual.detach()), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDENS / "train_step" / "golden.npz")


@pytest.fixture(scope="module")
def clip():
    model = open_clip.CLIP(
        embed_dim=64,
        vision_cfg={"image_size": 64, "patch_size": 16, "width": 64, "layers": 6, "head_width": 16},
        text_cfg={"context_length": 77, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2},
    )
    tensors = load_file(GOLDENS / "clip_dinoiser_tiny" / "clip_visual.safetensors")
    model.load_state_dict(tensors, strict=False)
    return MaskClip(model)


@pytest.fixture(scope="module")
def teacher():
    return DinoTeacher(*small_teachers())


@pytest.fixture(scope="module")
def prepared(clip, teacher, golden):
    return prepare(clip, teacher, Crops(torch.from_numpy(golden["input"]), None))


@pytest.fixture
def heads(golden):
    heads = DinoiserHeads(64, 32)
    heads.load_state_dict({n: torch.from_numpy(golden[f"w0_{n}"]) for n in heads.state_dict()})
    return heads


def test_targets_are_the_published_ones(prepared, golden):
    unit = F.normalize(prepared.targets.features.flatten(2), dim=1)
    similar = losses_module.similar_pairs(unit, 0.2).reshape(golden["dino_target"].shape)
    np.testing.assert_array_equal(similar, golden["dino_target"])
    np.testing.assert_array_equal(prepared.targets.objects, golden["found_target"][:, 0] > 0)


def test_predictions_are_the_published_ones(prepared, heads, golden):
    embeddings, foreground = heads(prepared.guide)
    unit = F.normalize(embeddings.flatten(2), dim=1)
    clamped = (unit.transpose(1, 2) @ unit).clamp(min=0)
    close(clamped.reshape(golden["pred_corrs_clamped"].shape), golden["pred_corrs_clamped"])
    close(foreground, golden["pred_bkg_logits"][:, 0])


@pytest.mark.parametrize("patch", [8, 32])
def test_a_teacher_with_other_patches_speaks_of_the_same_places(teacher, patch):
    """What is true of an image enlarged by the patches' ratio is true of the image."""
    pixels = torch.rand(1, 3, 96, 128)
    grid = (96 // patch, 128 // patch)
    targets = teacher.targets(Crops(pixels, None), grid)
    assert targets.features.shape[-2:] == targets.objects.shape[-2:] == grid
    resized = F.interpolate(pixels, scale_factor=16 / patch, mode="bilinear", antialias=True)
    torch.testing.assert_close(targets.features, teacher.dino.values(resized), atol=1e-5, rtol=0)


def test_like_patches_leave_the_image_as_it_is(teacher):
    pixels = torch.rand(1, 3, 96, 128)
    targets = teacher.targets(Crops(pixels, None), (6, 8))
    assert torch.equal(targets.features, teacher.dino.values(pixels))


@pytest.mark.parametrize("parts", [1, 2], ids=["at once", "crop by crop"])
def test_three_steps_are_the_published_ones(prepared, heads, golden, parts):
    settings = FitSettings(projection_dim=32)
    optimizer = make_optimizer(heads, settings)
    chunks = [
        type(prepared)(guide, type(prepared.targets)(*targets))
        for guide, *targets in zip(
            prepared.guide.chunk(parts),
            *(target.chunk(parts) for target in prepared.targets),
            strict=True,
        )
    ]
    for step in (1, 2, 3):
        set_rates(optimizer, settings, step - 1)
        optimizer.zero_grad()
        losses = accumulate(heads, chunks, 2, settings)
        close(torch.cat([losses, losses.sum()[None]]), golden[f"losses{step}"])
        for name, parameter in heads.named_parameters():
            close(parameter.grad, golden[f"g{step}_{name}"])
        optimizer.step()
        if step != 2:
            for name, parameter in heads.named_parameters():
                close(parameter, golden[f"w{step}_{name}"])


@pytest.mark.parametrize("weighting", ["published", "balanced"])
def test_rows_in_pieces_give_the_same_loss_and_gradients(prepared, heads, monkeypatch, weighting):
    settings = FitSettings(weighting=weighting)

    def run():
        heads.zero_grad()
        losses = losses_of(heads, prepared, settings)
        sum(losses).backward()
        return losses.correlation.detach(), heads.obj_proj.weight.grad.clone()

    whole = run()
    monkeypatch.setitem(losses_module.PAIRS_AT_ONCE, "cpu", 2 * 36 * 5)  # 5 of 36 rows
    for piecewise, at_once in zip(run(), whole, strict=True):
        torch.testing.assert_close(piecewise, at_once, atol=1e-7, rtol=1e-5)


def test_balanced_makes_every_pair_of_segments_count_alike():
    """Two segments of 1 patch and one of 14, and a student to which all patches are alike."""
    segments = torch.tensor([0] * 14 + [1, 2]).view(1, 4, 4)
    teacher = F.one_hot(segments).permute(0, 3, 1, 2).float()
    student = torch.ones(1, 5, 4, 4)
    same, different = F.softplus(torch.tensor([-1.0, 1.0]))  # of logit 1
    balanced = correlation_loss(student, teacher, "balanced")
    torch.testing.assert_close(balanced, (3 * same + 6 * different) / 9)
    alike = (14**2 + 1 + 1) / 16**2
    published = correlation_loss(student, teacher, "published")
    torch.testing.assert_close(published, alike * same + (1 - alike) * different)


def test_balanced_makes_objects_and_background_count_alike():
    """An image with 2 object patches of 16, and one without any."""
    objects = torch.zeros(2, 4, 4, dtype=torch.bool)
    objects[0, 0, :2] = True
    right, wrong = F.softplus(torch.tensor([-1.0, 1.0]))  # of logit 1
    balanced = objectness_loss(torch.ones(2, 4, 4), objects, "balanced")
    torch.testing.assert_close(balanced, ((right + wrong) / 2 + wrong) / 2)
    published = objectness_loss(torch.ones(2, 4, 4), objects, "published")
    torch.testing.assert_close(published, (2 * right + 30 * wrong) / 32)


@pytest.mark.parametrize("weighting", ["published", "balanced"])
def test_patches_to_ignore_take_no_part(weighting):
    """The losses of an image with unknown patches are those of its known half alone."""
    torch.manual_seed(0)
    student, foreground = torch.randn(1, 5, 4, 4), torch.randn(1, 4, 4)
    teacher = F.one_hot(torch.randint(0, 3, (1, 4, 4))).permute(0, 3, 1, 2).float()
    objects = torch.rand(1, 4, 4) > 0.4
    known = torch.zeros(1, 4, 4, dtype=torch.bool)
    known[:, :2] = True
    teacher[:, :, 2:] = 0  # similar to nothing
    torch.testing.assert_close(
        correlation_loss(student, teacher, weighting, 0.2, known),
        correlation_loss(student[:, :, :2], teacher[:, :, :2], weighting),
    )
    torch.testing.assert_close(
        objectness_loss(foreground, objects, weighting, known),
        objectness_loss(foreground[:, :2], objects[:, :2], weighting),
    )


def test_an_image_of_which_nothing_is_known_teaches_nothing():
    student = torch.randn(1, 5, 4, 4)
    nothing = torch.zeros(1, 4, 4, dtype=torch.bool)
    for weighting in ("published", "balanced"):
        assert correlation_loss(student, torch.ones(1, 2, 4, 4), weighting, 0.2, nothing) == 0
        assert objectness_loss(student[:, 0], nothing, weighting, nothing) == 0


def test_rates_fall_to_a_tenth_after_the_published_share_of_the_steps(heads):
    def rates(settings, step):
        optimizer = make_optimizer(heads, settings)
        set_rates(optimizer, settings, step)
        return [group["lr"] for group in optimizer.param_groups]

    assert rates(FitSettings(), 4999) == [5e-5, 1e-2]
    assert rates(FitSettings(), 5000) == pytest.approx([5e-6, 1e-3])
    assert rates(FitSettings(steps=63), 49) == [5e-5, 1e-2]
    assert rates(FitSettings(steps=63), 50) == pytest.approx([5e-6, 1e-3])
    assert rates(FitSettings(steps=10, decay=0.5, decay_at=0.2), 2) == [2.5e-5, 5e-3]
