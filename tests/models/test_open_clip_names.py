"""CLIPs by their names in open_clip: their files, what is refused, and running them."""

import open_clip
import pytest
import torch

from dinoiser.errors import ModelError, UnknownModelError, WeightsError
from dinoiser.models.catalog import find_model
from dinoiser.models.load import load_model
from dinoiser.models.maskclip import MaskClip
from tests.helpers.small_open_clip import publish_small_clip

NAME = "open_clip:ViT-B-32:laion2b_s34b_b79k"


def test_a_name_finds_what_open_clip_would_fetch():
    entry = find_model(NAME)
    assert entry.clip.repo == open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")[
        "hf_hub"
    ].strip("/")
    assert 600e6 < entry.clip.approximate_size < 610e6
    assert entry.background == "class"
    assert entry.takes_heads
    assert entry.clip.repo in entry.licence


def test_the_default_model_by_its_name_in_open_clip_is_the_same_file():
    assert find_model("open_clip:ViT-B-16:laion2b_s34b_b88k").clip.place() == (
        find_model("maskclip").clip.place()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:ViT-B32:openai", r"no architecture 'ViT-B32' \(did you mean 'ViT-B-32'\?\)"),
        ("open_clip:", "no architecture ''"),
        ("open_clip:ViT-B-32", "has openai, .* and more; give them after a colon"),
        ("open_clip:ViT-B-32:laion2b_s34b", "did you mean 'laion2b_s34b_b79k'"),
        ("open_clip:ViT-e-14:any", "it has none"),
        ("ViT-B-32", "or a ViT of open_clip, such as open_clip:ViT-B-32"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name, message):
    with pytest.raises(UnknownModelError, match=message):
        find_model(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RN50:openai", "its image tower is a ResNet"),
        ("convnext_base:laion400m_s13b_b51k", "tower is timm's convnext_base"),
        ("ViT-B-16-SigLIP:webli", "tower is timm's vit_base_patch16_siglip_224"),
        ("coca_ViT-B-32:laion2b_s13b_b90k", "pools patches by attention"),
        ("xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k", "its tokenizer is not CLIP's"),
        ("ViT-L-14:laion2b_s32b_b82k", r"images are normalised with the mean \(0\.5, 0\.5, 0\.5\)"),
    ],
)
def test_what_has_no_plain_vit_or_other_inputs_is_refused_before_any_download(name, reason):
    with pytest.raises(ModelError, match=f"{reason}.*such as {NAME}"):
        find_model(f"open_clip:{name}")


@pytest.mark.parametrize("name", ["ViT-B-16:openai", "ViT-L-14:openai", "ViT-H-14:dfn5b"])
def test_widely_used_vits_are_taken(name):
    assert find_model(f"open_clip:{name}").method == "maskclip"


def test_offline_the_place_for_the_file_is_named():
    with pytest.raises(WeightsError, match=r"DINOISER_OFFLINE is set.*B-32-laion2B"):
        load_model(NAME, "cpu")


@pytest.mark.parametrize("quick_gelu", [False, True], ids=["GELU", "quick GELU"])
def test_a_model_by_name_is_maskclip_over_open_clips_own(tmp_path, monkeypatch, quick_gelu):
    name, clip = publish_small_clip(tmp_path, monkeypatch, quick_gelu)
    model = load_model(name, "cpu", "fp32")
    assert type(model) is MaskClip
    assert model.name == name
    pixels = torch.rand(1, 3, 56, 70)
    expected = MaskClip(clip).encode_image(pixels).features
    torch.testing.assert_close(model.encode_image(pixels).features, expected)
    torch.testing.assert_close(model.encode_text(["a dog"]), MaskClip(clip).encode_text(["a dog"]))
