"""Heads that learn from the accepted masks of a job."""

import json
import shutil

import numpy as np
import pytest
import torch
from dinoiser_training.images import DrawnImages
from dinoiser_training.reviewed import read_reviewed
from dinoiser_training.settings import FitSettings
from dinoiser_training.student import new_whitened_heads
from dinoiser_training.teachers import SegmentTeacher
from dinoiser_training.validation import centre_batch
from PIL import Image
from safetensors import safe_open
from torch.nn import functional as F

from dinoiser import PromptSet
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.errors import InputError, SettingsError
from dinoiser.scenes import draw_scenes
from dinoiser.scenes.drawing import SHAPES
from tests.helpers import command_line

SMALL = FitSettings(crop=64)
TRAIN = ("-m", "tiny", "-d", "cpu", "--precision", "fp32", "--batch-size", 2, "--crop", 64)


def label(folder, output, words):
    options = ("-m", "tiny", "-d", "cpu", "--refine", "none", "-f", "png", "--no-report")
    code, _, err = command_line.dinoiser("label", folder, "-p", words, "-o", output, *options)
    assert code == 0, err


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """A job of nine scenes: six masks accepted, one rejected, and two not looked at.

    Masks are the truth, with a strip at the left that is ignored.
    """
    folder, output = (tmp_path_factory.mktemp(name) for name in ("images", "labels"))
    scenes = list(draw_scenes(9, 77, (64, 80)))
    for i, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(folder / f"{i}.png")
    label(folder, output, f"background, {', '.join(SHAPES)}")
    reviews = Reviews(output, PromptSet.load(output / "prompts.yaml"))
    for image, scene in zip(read_labelled(output), scenes, strict=True):
        numbers = [1 + SHAPES.index(name.split()[1]) for name in scene.names]
        mask = np.array([0, *numbers], np.uint8)[scene.labels]
        mask[:, :16] = 255
        number = int(image.image[0])
        if number < 7:
            reviews.save(image, "rejected" if number == 6 else "accepted", mask)
    return output


def test_accepted_masks_teach(reviewed):
    data = read_reviewed(reviewed, SMALL)
    assert {data.training[i].name for i in range(len(data.training))} == {
        f"{i}.png" for i in range(6)
    }


def test_damaged_masks_are_named_and_not_more_folders_asked_for(reviewed, tmp_path):
    output = shutil.copytree(reviewed, tmp_path / "labels")
    for name in ("0.png", "1.png"):
        (output / "masks" / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"4 images .* 2 more cannot be read \(.*mend these"):
        read_reviewed(output, SMALL)


def test_masks_of_another_size_say_what_to_do(reviewed, tmp_path):
    output = shutil.copytree(reviewed, tmp_path / "labels")
    for name in ("0.png", "1.png"):
        Image.new("L", (40, 32)).save(output / "masks" / name)
    said = r"masks.[01]\.png has 40x32 pixels but its image has 80x64; save it at the image's size"
    with pytest.raises(InputError, match=rf"2 more cannot be read \(.*{said}"):
        read_reviewed(output, SMALL)


def test_classes_are_segments_and_what_is_ignored_takes_no_part(reviewed):
    data = read_reviewed(reviewed, SMALL)
    batch = centre_batch(data.training, range(6), 64)
    features, objects, known = SegmentTeacher("masks").targets(batch, (8, 8))
    # the strip is 16 of 80 pixels; of the 64 in the middle, it has 8: one column of patches
    assert not known[:, :, 0].any()
    assert known[:, :, 1:].all()
    assert not objects[:, :, 0].any()
    first = batch.labels[:, 4::8, 4::8].long()  # pixels in the middle of patches
    agree = (objects == (first > 0))[known].float().mean()
    assert agree > 0.9
    unit = F.normalize(features.flatten(2), dim=1)
    assert {0.0, 1.0} >= set((unit.transpose(1, 2) @ unit).unique().tolist())


@pytest.fixture(scope="module")
def fitted(reviewed, tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "heads.safetensors"
    train = ("train", "--teacher", "masks", reviewed, "-o", path, *TRAIN, "--steps", 2)
    code, out, err = command_line.dinoiser(*train)
    assert code in (0, 1), err
    return path, out, err


def test_the_fit_starts_from_the_models_heads(fitted, tiny):
    path, out, err = fitted
    assert "6 images to learn from; each is held out" in err
    assert "shipped" in out
    with safe_open(path, "pt") as file:
        made_of = file.metadata()
        difference = file.get_tensor("obj_proj.weight") - tiny.heads.obj_proj.weight
    assert made_of["teacher"] == "masks"
    assert float(made_of["gamma"]) == tiny.gamma
    assert json.loads(made_of["settings"])["projection_dim"] == tiny.heads.obj_proj.out_channels
    assert difference.abs().max() < 1e-3  # two small steps


def test_whitened_heads_start_from_the_models_too(tiny):
    images = DrawnImages(4, 3, (64, 64))
    settings = FitSettings(crop=64, batch_size=4, sample=4, projection_dim=128)
    student = new_whitened_heads(tiny, images, settings, tiny.heads)
    guide = tiny.encode_guide(centre_batch(images, [0], 64).pixels)
    for heads in (student, student.export()):
        embeddings, foreground = heads(guide)
        expected, objects = tiny.heads(guide)
        ours, theirs = (F.normalize(e.flatten(2), dim=1) for e in (embeddings, expected))
        torch.testing.assert_close(
            ours.transpose(1, 2) @ ours, theirs.transpose(1, 2) @ theirs, atol=1e-4, rtol=0
        )
        torch.testing.assert_close(foreground, objects)


def test_a_changed_mask_is_other_data(reviewed):
    before = read_reviewed(reviewed, SMALL).digest
    assert read_reviewed(reviewed, SMALL).digest == before
    mask = reviewed / "masks" / "0.png"
    content = mask.read_bytes()
    with Image.open(mask) as file:
        changed = file.copy()
    changed.putpixel((40, 5), 255)
    changed.save(mask)
    try:
        assert read_reviewed(reviewed, SMALL).digest != before
    finally:
        mask.write_bytes(content)


def test_too_few_accepted_masks_are_said(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64)).save(images / "0.png")
    label(images, tmp_path / "labels", "background, circle")
    with pytest.raises(InputError, match=r"0 masks of the job in .* expected at least 5: review"):
        read_reviewed(tmp_path / "labels", SMALL)
    label(images, tmp_path / "others", "square, circle")
    with pytest.raises(SettingsError, match=r"have no class background"):
        read_reviewed(tmp_path / "others", SMALL)


def test_masks_need_one_folder(reviewed, tmp_path, dinoiser):
    train = ("train", "--teacher", "masks", reviewed, reviewed, "-o", tmp_path / "h.safetensors")
    code, _, err = dinoiser(*train, *TRAIN)
    assert code == 2
    assert "needs one folder of a job, but 2 paths are given" in err
