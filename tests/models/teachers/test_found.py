"""FOUND's objectness: the published code's numbers."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dinoiser.errors import CheckpointError, UnknownModelError
from dinoiser.models.catalog import find_teacher, list_models
from dinoiser.models.teachers.found import Found
from tests.helpers.teacher_goldens import CASES, HEADS, close, golden, teacher_weights


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Backbone and decoder as they are published: the decoder under a key of its own."""
    folder = tmp_path_factory.mktemp("found")
    torch.save(teacher_weights("found_p8."), folder / "backbone.pth")
    torch.save({"decoder": teacher_weights("found_decoder.")}, folder / "decoder.pt")
    return folder / "backbone.pth", folder / "decoder.pt"


@pytest.fixture(scope="module")
def found(files):
    return Found.load(*files, HEADS)


@CASES
def test_keys_and_objectness(found, case):
    pixels = torch.from_numpy(golden()[f"{case}_padded"])
    close(found.dino.keys(pixels), golden()[f"{case}_found_key_feats"])
    logits = found.objectness(pixels)
    close(logits, golden()[f"{case}_found_logits"][:, 0])
    close(logits.sigmoid(), golden()[f"{case}_found_sigmoid"][:, 0])


@CASES
def test_probabilities_on_the_coarser_grid(found, case):
    expected = golden()[f"{case}_found_resized_no_aa"][:, 0]
    probabilities = found.patch_probabilities(
        torch.from_numpy(golden()[f"{case}_padded"]), expected.shape[-2:]
    )
    close(probabilities, expected)
    np.testing.assert_array_equal(probabilities > 0.5, expected > 0.5)
    smoothed = golden()[f"{case}_found_resized_aa"][:, 0]
    assert ((probabilities > 0.5).numpy() != (smoothed > 0.5)).sum() == 1  # the goldens' notes


def test_mask_of_every_pixel(found):
    mask = found.mask(torch.from_numpy(golden()["a_input"]))
    np.testing.assert_array_equal(mask, golden()["a_found_mask_full_res"][:, 0])


def test_a_mask_covers_the_image_and_not_its_padding(found):
    padded = torch.from_numpy(golden()["b_padded"])
    mask = found.mask(padded)[:, :75, :110]
    np.testing.assert_array_equal(mask, golden()["b_found_mask_full_res"][:, 0])
    assert found.mask(torch.rand(2, 3, 70, 60)).shape == (2, 70, 60)


def test_a_decoder_of_another_backbone_is_refused(files, tmp_path):
    save_file({"weight": torch.zeros(1, 384, 1, 1), "bias": torch.zeros(1)}, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match=r"weight: \(1, 384, 1, 1\) != \(1, 48, 1, 1\)"):
        Found.load(files[0], tmp_path / "d.pt", HEADS)


def test_the_teachers_of_the_catalogue_are_the_right_files_and_no_models():
    found, dino = find_teacher("found"), find_teacher("dino-vitb16")
    assert found.backbone.filename == "dino_deitsmall8_300ep_pretrain.pth"
    assert found.backbone.digest is None
    assert found.decoder.sha256.startswith("47ff2a4a")
    assert dino.decoder is None
    assert not {"found", "dino-vitb16"} & {model.name for model in list_models()}
    with pytest.raises(UnknownModelError, match=r"'dino-vitb8': choose one of dino-vitb16, found"):
        find_teacher("dino-vitb8")
