"""The recipe of the embedded model's backbone: what it trains is what the model runs."""

import pytest
import torch
from dinoiser_training.parallel import Workers
from dinoiser_training.tiny.backbone import run_block, save_backbone, train_backbone
from dinoiser_training.tiny.heads import load_backbone

from dinoiser.models import maskclip

SENTENCES = ["a photo of a red circle.", "a photo of a zebra.", "green grass"]


@pytest.fixture(scope="module")
def trainee():
    threads = torch.get_num_threads()
    yield train_backbone(steps=1, seed=3, workers=Workers())
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_the_model_reads_what_was_trained(trainee, tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_backbone(trainee, path)
    model = load_backbone(path)
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        trained = trainee.encode_image(pixels).dense
        sentences = trainee.encode_text(SENTENCES)
    read = model.encode_image(pixels).features.flatten(2).transpose(1, 2)
    # The file holds float16, which is good to one part in a thousand.
    assert torch.allclose(read, trained, atol=0.01 * trained.abs().max().item())
    assert torch.allclose(model.encode_text(SENTENCES), sentences, atol=0.01)


@pytest.mark.slow
def test_unknown_words_are_one_word(trainee):
    zebra, horse, circle = trainee.encode_text(["a zebra", "a horse", "a circle"])
    assert torch.equal(zebra, horse)
    assert not torch.allclose(zebra, circle, atol=1e-3)


@pytest.mark.slow
def test_its_blocks_are_those_of_open_clip(trainee):
    tokens = torch.randn(2, 50, 128, generator=torch.Generator().manual_seed(1))
    for block in trainee.clip.visual.transformer.resblocks:
        with torch.no_grad():
            expected, _ = maskclip.run_block(block, tokens)
            assert torch.allclose(run_block(block, tokens), expected, atol=1e-5)
