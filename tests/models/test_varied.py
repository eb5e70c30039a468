"""CLIP-DINOiser with other sources of guidance, by name and by hand."""

import numpy as np
import pytest
import torch

from dinoiser.errors import SettingsError
from dinoiser.models.catalog import find_model
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.key_refinement import KeyRefinedClip
from dinoiser.models.load import load_model
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.pooling import pool_by_correlation
from dinoiser.models.teachers.dino import Dino
from dinoiser.models.teachers.found import Found
from dinoiser.models.variation import Variation
from dinoiser.models.varied import Sources, VariedClip
from dinoiser.prompts import PromptSet
from dinoiser.segment.background import apply_background
from dinoiser.segment.segmenter import Segmenter


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(2, 3, 64, 83, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def tiny_heads():
    return DinoiserHeads.load(find_model("tiny").heads.place())


@pytest.fixture(scope="module")
def dino():
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(4)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 64}
    return Dino(VisionTransformer(**sizes, num_classes=0))


@pytest.fixture(scope="module")
def found(dino):
    torch.manual_seed(5)
    return Found(dino, torch.nn.Conv2d(32, 1, 1))


def varied(tiny, sources=None, **settings):
    return VariedClip(tiny.clip, Variation(**settings), sources or Sources(), gamma=0.2)


class TestPooling:
    def test_by_the_heads_it_is_the_method_itself(self, tiny, tiny_heads, pixels):
        found = varied(tiny, Sources(heads=tiny_heads)).encode_image(pixels)
        expected = ClipDinoiser(tiny.clip, tiny_heads, 0.2).encode_image(pixels)
        assert torch.equal(found.features, expected.features)
        assert torch.equal(found.foreground, expected.foreground)

    def test_by_keys_of_clip(self, tiny, pixels):
        keys = KeyRefinedClip(tiny.clip, "channels").encode_image(pixels)
        expected = pool_by_correlation(keys.features, keys.guide, 0.2)
        features = varied(tiny, pooling="clip-keys", objects="none").encode_image(pixels).features
        torch.testing.assert_close(features, expected)

    @pytest.mark.parametrize("part", ["queries", "keys", "values"])
    def test_by_each_projection_of_dino(self, tiny, dino, pixels, part):
        model = varied(tiny, Sources(dino=dino), pooling=f"dino-{part}", objects="none")
        plain = MaskClip(tiny.clip).encode_image(pixels).features
        compared = getattr(dino, part)(pixels)
        # rows of DINO's joint projection are queries, keys and values
        last, number = dino.vit.blocks[-1], ["queries", "keys", "values"].index(part)
        x, _ = dino._embed(pixels)
        x = dino.vit.blocks[0](x)
        projected = last.attn.qkv(last.norm1(x))[:, 1:].chunk(3, -1)[number]
        torch.testing.assert_close(compared.flatten(2).mT, projected)
        expected = pool_by_correlation(plain, compared, 0.2)
        torch.testing.assert_close(model.encode_image(pixels).features, expected)

    def test_without_it_features_are_those_of_maskclip(self, tiny, tiny_heads, pixels):
        """The row of the paper with the filter alone."""
        model = varied(tiny, Sources(heads=tiny_heads), pooling="none")
        assert model.gamma is None
        found, plain = (m.encode_image(pixels) for m in (model, MaskClip(tiny.clip)))
        assert torch.equal(found.features, plain.features)
        whole = ClipDinoiser(tiny.clip, tiny_heads).encode_image(pixels)
        torch.testing.assert_close(found.foreground, whole.foreground)


class TestObjects:
    def test_of_found(self, tiny, found, pixels):
        model = varied(tiny, Sources(found=found), pooling="none", objects="found")
        patches = model.encode_image(pixels)
        # of pixels padded to full patches
        padded = torch.nn.functional.pad(pixels, (0, 5, 0, 0))
        objects = found.patch_probabilities(padded, patches.features.shape[-2:])
        torch.testing.assert_close(patches.foreground.sigmoid(), objects)

    def test_without_them_a_background_is_found_by_its_words(self, tiny, scene):
        model = varied(tiny, Sources(heads=tiny.heads), objects="none")
        assert model.scoring.background == "class"
        names = ["background", *scene.names]
        one, other = (
            Segmenter(m, whole=True, delta=delta, refine="none")
            .segment(scene.image, PromptSet.from_names(names))
            .labels
            for m, delta in ((model, 0.99), (ClipDinoiser(tiny.clip, tiny.heads, 0.2), 0.0))
        )
        np.testing.assert_array_equal(one, other)

    def test_without_the_test_of_uncertainty_only_objects_stay(self):
        probabilities = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 2, 1)
        foreground = torch.tensor([[[-1.0], [1.0]]])
        assert apply_background(probabilities, foreground, 1.0)[0, 0].flatten().tolist() == [1, 0]
        assert apply_background(probabilities, foreground, 0.99)[0, 0].sum() == 0


class TestNames:
    def test_a_name_says_what_is_varied(self):
        entry = find_model("clip-dinoiser:pooling=dino-keys:objects=found:gamma=0.3")
        assert entry.name == "clip-dinoiser:pooling=dino-keys:objects=found:gamma=0.3"
        assert set(entry.parts) == {"dino", "found", "found_decoder"}
        assert entry.heads is None
        assert not entry.takes_heads
        assert entry.background == "objectness"
        assert find_model("clip-dinoiser:objects=none").background == "class"
        assert find_model("clip-dinoiser:objects=none").takes_heads

    def test_it_is_loaded_with_heads_and_threshold(self, tiny, pixels):
        model = load_model("tiny:pooling=clip-keys:gamma=0.4", "cpu", "fp32")
        by_hand = VariedClip(
            tiny.clip, Variation(pooling="clip-keys"), Sources(heads=tiny.heads), gamma=0.4
        )
        assert torch.equal(
            model.encode_image(pixels).features, by_hand.encode_image(pixels).features
        )
        assert model.name == "tiny:pooling=clip-keys:gamma=0.4"
        assert load_model("tiny:objects=none", "cpu").gamma == tiny.gamma

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "tiny:poling=none",
                r"no 'poling' \(did you mean 'pooling'\?\), expected pooling, obj",
            ),
            ("tiny:pooling=x", r"pooling is 'x', expected 'heads', 'clip-keys', 'dino-values'"),
            ("tiny:gamma=2", r"gamma is '2', expected at least 0 and below 1"),
            ("naclip:pooling=none", r"naclip has no pooling or objects or gamma to set"),
        ],
    )
    def test_what_cannot_be_varied_is_said(self, name, message):
        with pytest.raises(SettingsError, match=message):
            find_model(name)

    def test_heads_are_missed_before_anything_is_computed(self):
        with pytest.raises(SettingsError, match=r"maskclip-tiny:objects=none needs heads"):
            load_model("maskclip-tiny:objects=none", "cpu")
