"""Our CLIP: open_clip's, without open_clip."""

import sys

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from dinoiser.models import open_clip_files
from dinoiser.models.catalog import find_model, list_models
from dinoiser.models.clip import Clip, is_plain
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.key_refinement import KeyRefinedClip
from dinoiser.models.load import build_clip
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.text import template_sentences

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 64,
        "patch_size": 16,
        "width": 32,
        "layers": 4,
        "head_width": 8,
        "mlp_ratio": 3.5,
    },
    "text_cfg": {"vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
SENTENCES = [
    "dog",
    "",
    "  A Red\tcircle \n",
    "un chien d'été, garçon",
    "犬と猫 🐕‍🦺",
    "&lt;b&gt;bold&lt;/b&gt; &amp; it's",
    "<end_of_text> 1,234.5 <start_of_text>",
    "schÃ¶n \u200b\x00",
    "word " * 100,
]


@pytest.fixture
def both():
    """Make the same CLIP twice: open_clip's and ours."""

    def make(quick_gelu=False, dtype=torch.float32):
        torch.manual_seed(5)
        theirs = open_clip.CLIP(**CONFIG, quick_gelu=quick_gelu)
        for parameter in theirs.parameters():  # biases begin at 0, which would hide mistakes
            torch.nn.init.normal_(parameter, std=0.2)
        ours = Clip(**CONFIG, quick_gelu=quick_gelu)
        ours.load_state_dict(theirs.state_dict())
        return theirs.to(dtype), ours.to(dtype)

    return make


@pytest.fixture
def not_imported(monkeypatch):
    """open_clip as it is before anything imports it."""
    monkeypatch.delitem(sys.modules, "open_clip")
    open_clip_files._module.cache_clear()
    yield
    assert "open_clip" not in sys.modules
    open_clip_files._module.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_it_computes_what_open_clip_does(both, quick_gelu, dtype):
    theirs, ours = both(quick_gelu, dtype)
    rounding = {"atol": 1e-6 if dtype == torch.float32 else 0.02, "rtol": 0}  # unit length
    pixels = torch.rand(2, 3, 64, 80)
    heads = DinoiserHeads(32, 8)
    for kind in (MaskClip, KeyRefinedClip, lambda clip: ClipDinoiser(clip, heads)):
        one, other = kind(ours), kind(theirs)
        # sentences are attended to by other kernels, and images by the same
        texts = one.encode_text(SENTENCES)
        assert torch.allclose(texts, other.encode_text(SENTENCES), **rounding)
        assert torch.equal(one.encode_guide(pixels), other.encode_guide(pixels))
        for mine, its in zip(one.encode_patches(pixels), other.encode_patches(pixels), strict=True):
            assert torch.equal(mine, its)
        seen, expected = one.encode_image(pixels), other.encode_image(pixels)
        assert torch.equal(seen.features, expected.features)
        for part in ("foreground", "guide"):
            mine, its = getattr(seen, part), getattr(expected, part)
            assert (mine is its is None) or torch.equal(mine, its)


def test_the_defaults_are_those_of_open_clip():
    config = {"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}}
    assert is_plain(config)
    assert shapes(Clip, config) == shapes(open_clip.CLIP, config)
    assert Clip(**CONFIG).context_length == open_clip.CLIP(**CONFIG).context_length


def test_the_catalogues_architectures_are_plain_and_fit():
    for entry in (find_model(model.name) for model in list_models()):
        if entry.architecture:
            config = entry.read_config() or open_clip.get_model_config(entry.architecture)
            assert is_plain(config), entry.name
            assert shapes(Clip, config) == shapes(open_clip.CLIP, config)


def shapes(kind, config):
    with torch.device("meta"):
        return {name: value.shape for name, value in kind(**config).state_dict().items()}


@pytest.mark.parametrize(
    ("part", "option"),
    [
        ("vision_cfg", {"ls_init_value": 0.1}),
        ("vision_cfg", {"image_size": [64, 64]}),
        ("text_cfg", {"pool_type": "last"}),
    ],
)
def test_options_beyond_a_plain_clip_are_left_to_open_clip(monkeypatch, tmp_path, part, option):
    config = {**CONFIG, part: {**CONFIG[part], **option}}
    monkeypatch.setattr(open_clip, "get_model_config", {"ViT-odd": config}.__getitem__)
    clip = open_clip.CLIP(**config)
    save_file(clip.state_dict(), tmp_path / "clip.safetensors")
    entry = find_model("maskclip").model_copy(update={"architecture": "ViT-odd"})
    built = build_clip(entry, tmp_path / "clip.safetensors")
    assert isinstance(built, open_clip.CLIP)
    assert all(map(torch.equal, built.parameters(), clip.parameters()))


def test_its_tokens_are_those_of_open_clip(not_imported):
    for length in (77, 12):
        tokenize = open_clip_files.clip_tokenizer(length)
        assert torch.equal(tokenize(SENTENCES), open_clip.tokenize(SENTENCES, length))


def test_its_templates_are_those_of_open_clip(not_imported):
    for name, theirs in (
        ("imagenet", open_clip.OPENAI_IMAGENET_TEMPLATES),
        ("simple", open_clip.SIMPLE_IMAGENET_TEMPLATES),
    ):
        assert template_sentences(name) == tuple(fill("{}") for fill in theirs)


def test_its_configurations_are_those_of_open_clip(not_imported):
    for name in ("ViT-B-16", "ViT-B-16-quickgelu"):
        assert open_clip_files.architecture_config(name) == open_clip.get_model_config(name)
