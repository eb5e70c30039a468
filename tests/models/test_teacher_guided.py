"""MaskCLIP guided by DINO and FOUND, and refined by its own keys."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn
from torch.nn import functional as F

from dinoiser.errors import SettingsError
from dinoiser.models import load
from dinoiser.models.base import PatchFeatures, Scoring
from dinoiser.models.catalog import ModelEntry, find_model
from dinoiser.models.key_refinement import KeyRefinedClip
from dinoiser.models.maskclip import CLIP_MEAN, CLIP_STD, MaskClip
from dinoiser.models.pooling import share_by_keys
from dinoiser.models.teacher_guided import TeacherGuidedClip
from dinoiser.models.teachers.dino import Dino, build_vit
from dinoiser.models.teachers.found import Found
from dinoiser.prompts import PromptSet
from dinoiser.segment.scoring import class_probabilities, score_patches
from dinoiser.segment.segmenter import Segmenter
from dinoiser.weights.checkpoint import read_tensors
from tests.helpers.places import GOLDENS, SHARED
from tests.helpers.teacher_goldens import small_teachers, teacher_weights

OFFICIAL = SHARED / "found"
CASES = pytest.mark.parametrize("case", ["a", "b"], ids=["64x96", "75x110, padded"])


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), expected, atol=1e-4, rtol=0)


@pytest.fixture
def teachers():
    return small_teachers()


class TestTeacherGuided:
    @CASES
    def test_probabilities_of_the_published_two_teacher_model(
        self,
        tiny_clip,
        teachers,
        case,
    ):
        golden = np.load(GOLDENS / "found" / "golden.npz")
        classes = np.load(GOLDENS / "clip_dinoiser_tiny" / "golden.npz")["class_embeddings"]
        model = TeacherGuidedClip(tiny_clip, *teachers)
        patches = model.encode_image(torch.from_numpy(golden[f"{case}_input"]))

        def score(has_background):
            embeddings = torch.from_numpy(classes)
            counts = [1] * len(classes)
            return score_patches(
                patches, embeddings, counts, model.scoring, has_background=has_background
            )

        close(score(has_background=False), golden[f"{case}_dinoclip_probs"])
        close(score(has_background=True), golden[f"{case}_dinoclip_probs_bkg"])

    def test_a_teacher_with_other_patches_gives_its_own_grid(self, make_clip, teachers):
        clip = make_clip(patch_size=32, image_size=128)
        patches = TeacherGuidedClip(clip, *teachers).encode_image(torch.rand(2, 3, 64, 96))
        assert patches.features.shape == (2, 24, 4, 6)
        assert patches.foreground.shape == (2, 4, 6)

    def test_objects_only_are_kept_from_the_background(self, make_clip, teachers):
        """The objects are FOUND's: where it sees none, an unsure patch is background."""
        model = TeacherGuidedClip(make_clip(), *teachers)
        patches = model.encode_image(torch.rand(1, 3, 96, 96))
        embeddings = F.normalize(torch.randn(3, 24, generator=torch.manual_seed(0)), dim=-1)
        scored = score_patches(patches, embeddings, [1, 1, 1], model.scoring, has_background=True)
        unsure = class_probabilities(patches.features, embeddings).amax(1) < 0.99
        background = (scored[:, 0] == 1) & unsure
        np.testing.assert_array_equal(background, unsure & (patches.foreground <= 0))

    @pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official decoder is not on this machine")
    def test_the_official_decoder(self):
        golden = np.load(OFFICIAL / "golden.npz")
        decoder = nn.Conv2d(384, 1, 1)
        decoder.load_state_dict(read_tensors(OFFICIAL / "decoder_weights.pt"))
        with torch.no_grad():
            close(
                decoder(torch.from_numpy(golden["real_decoder_in"])), golden["real_decoder_logits"]
            )


def tokens_before_last_block(clip, pixels):
    """What open_clip's own forward gives to the last block: (B, 1 + N, C)."""
    seen = {}
    block = clip.visual.transformer.resblocks[-1]
    hook = block.ln_1.register_forward_pre_hook(lambda *args: seen.update(given=args[1][0]))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        clip.visual((pixels - mean) / std)
    hook.remove()
    return seen["given"].double().numpy()


def norm(x, layer):
    """Layer normalisation of vectors (..., C)."""
    centered = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(-1, keepdims=True) + layer["eps"])
    return centered / deviation * layer["weight"] + layer["bias"]


def refined_by_keys(clip, tokens, embeddings, normalised_over):
    """MaskCLIP's formulas for one image, a patch at a time: sums (N, K)."""
    weights = {n: t.double().numpy() for n, t in clip.visual.state_dict().items()}
    last = f"transformer.resblocks.{len(clip.visual.transformer.resblocks) - 1}."

    def layer(name):
        return {"weight": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"], "eps": 1e-5}

    def linear(x, name):
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    width = tokens.shape[-1]
    projection, shift = weights[f"{last}attn.in_proj_weight"], weights[f"{last}attn.in_proj_bias"]
    keys, probabilities = [], []
    for token in tokens[1:]:
        x = norm(token, layer(f"{last}ln_1"))
        queries_keys_values = projection @ x + shift
        keys.append(queries_keys_values[width : 2 * width])
        x = token + linear(queries_keys_values[2 * width :], f"{last}attn.out_proj")
        hidden = linear(norm(x, layer(f"{last}ln_2")), f"{last}mlp.c_fc")
        x = x + linear(0.5 * hidden * (1 + erf(hidden / np.sqrt(2))), f"{last}mlp.c_proj")
        feature = norm(x, layer("ln_post")) @ weights["proj"]
        logits = 100 * embeddings @ (feature / np.linalg.norm(feature))
        powers = np.exp(logits - logits.max())
        probabilities.append(powers / powers.sum())
    if normalised_over == "channels":
        keys = [key / np.linalg.norm(key) for key in keys]
    else:
        keys = list(np.array(keys) / np.sqrt(sum(key**2 for key in keys)))
    refined = [sum(key @ keys[j] * probabilities[j] for j in range(len(keys))) for key in keys]
    return np.array(refined)


class TestKeyRefined:
    @pytest.mark.parametrize("over", ["patches", "channels"], ids=["as coded", "as printed"])
    def test_the_formulas_step_by_step(self, make_clip, over):
        """There are no published numbers of this method."""
        clip = make_clip().eval()
        pixels = torch.rand(2, 3, 64, 64)
        embeddings = F.normalize(torch.randn(3, 24, generator=torch.manual_seed(5)), dim=-1)
        model = KeyRefinedClip(clip, over)
        patches = model.encode_image(pixels)
        actual = score_patches(patches, embeddings, [1] * 3, model.scoring, has_background=False)
        for probabilities, tokens in zip(
            actual, tokens_before_last_block(clip, pixels), strict=True
        ):
            expected = refined_by_keys(clip, tokens, embeddings.double().numpy(), over)
            np.testing.assert_array_equal(probabilities.flatten(1).argmax(0), expected.argmax(1))
            kept = expected.clip(min=0)
            close(probabilities.flatten(1).T, kept / kept.sum(1, keepdims=True))

    @pytest.mark.parametrize("opposite", [-0.4, -0.1], ids=["one sum above 0", "none"])
    def test_patches_with_opposite_keys_count_against_a_class(self, opposite):
        """The first two patches see the first class, and so would the third by itself."""
        probabilities = torch.tensor([[0.9, 0.9, 0.6], [0.1, 0.1, 0.4]])[None, :, None]
        keys = torch.tensor([[0.5, 0.5, opposite]])[None, :, None]
        shared = share_by_keys(probabilities, keys)[0, :, 0]
        sums = (probabilities[0, :, 0] * keys[0, 0, 0]).sum(1, keepdim=True) * keys[0, 0]
        np.testing.assert_array_equal(shared.argmax(0), sums.argmax(0))
        assert shared.argmax(0).tolist() == [0, 0, 1]
        close(shared.sum(0), np.ones(3))
        assert shared.min() >= 0

    def test_a_class_of_two_phrases_has_the_better_one_before_it_is_refined(self, make_clip):
        model = KeyRefinedClip(make_clip())
        patches = model.encode_image(torch.rand(1, 3, 64, 64))
        embeddings = F.normalize(torch.randn(3, 24, generator=torch.manual_seed(5)), dim=-1)
        actual = score_patches(patches, embeddings, [1, 2], model.scoring, has_background=False)
        plain = class_probabilities(patches.features, embeddings, phrases_per_class=[1, 2])[0]
        keys = patches.guide[0].flatten(1)
        sums = (plain.flatten(1) @ keys.T @ keys).clamp(min=0)
        close(actual[0].flatten(1), sums / sums.sum(0))

    def test_patches_with_the_same_key_get_the_same_probabilities(self):
        features = torch.randn(1, 6, 3, 4, generator=torch.manual_seed(1))
        keys = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[torch.arange(12) % 2].T.reshape(1, 2, 3, 4)
        embeddings = F.normalize(torch.randn(4, 6, generator=torch.manual_seed(2)), dim=-1)
        scoring = Scoring(guide="keys")
        patches = PatchFeatures(features, None, keys)
        scored = score_patches(patches, embeddings, [1] * 4, scoring, has_background=False)
        flat = scored.flatten(2)[0]
        torch.testing.assert_close(flat[:, ::2], flat[:, :1].expand(4, 6))
        torch.testing.assert_close(flat[:, 1::2], flat[:, 1:2].expand(4, 6))
        assert (flat[:, 0] - flat[:, 1]).abs().max() > 0.01
        torch.testing.assert_close(flat.sum(0), torch.ones(12), atol=1e-5, rtol=0)

    def test_the_code_is_followed_where_the_paper_prints_another_formula(self, make_clip):
        clip = make_clip()
        image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
        prompts = PromptSet.parse("dog, grass, sky")
        coded, printed, unsaid = (
            Segmenter(model, whole=True, refine="none").segment(image, prompts).probabilities("dog")
            for model in (
                KeyRefinedClip(clip, "patches"),
                KeyRefinedClip(clip, "channels"),
                KeyRefinedClip(clip),
            )
        )
        np.testing.assert_array_equal(unsaid, coded)
        assert np.abs(printed - coded).max() > 0.01

    def test_an_image_can_be_encoded_once_and_asked_twice(self, make_clip):
        segmenter = Segmenter(KeyRefinedClip(make_clip()), short_side=64, window=64, stride=32)
        image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
        prompts = PromptSet.parse("dog, grass, sky")
        encoded = segmenter.encode(image)
        direct = segmenter.segment(image, prompts)
        np.testing.assert_array_equal(encoded.segment(prompts).labels, direct.labels)
        assert set(np.unique(encoded.segment(PromptSet.parse("cat")).labels)) == {1}


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """Catalogue entries over the embedded CLIP, whose other files are put into an empty cache."""
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path))

    def make(method, **parts):
        described = find_model("tiny").model_dump(exclude={"heads", "parts", "method"})
        by_hand = {
            part: {"filename": f"{part}.pth", "source": "x", "why": "y", "approximate_size": 1}
            for part in parts
        }
        for part, tensors in parts.items():
            torch.save(tensors, tmp_path / f"{part}.pth")
        made = ModelEntry.model_validate({**described, "method": method, "parts": by_hand})
        monkeypatch.setattr(load, "find_model", lambda _name: made)
        return made

    return make


def test_a_guided_model_is_read_from_its_published_files(entry):
    """DINO's files have 64 channels a head; random ones are written with their names."""
    torch.manual_seed(8)
    weights = teacher_weights("dino_p16.").items()
    small = {n: t for n, t in weights if "blocks" not in n or ".0." in n}
    dino = {n: torch.randn_like(t) * 0.1 for n, t in small.items()}
    decoder = {"weight": torch.randn(1, 48, 1, 1), "bias": torch.zeros(1)}
    entry("clip-dino-guided", dino=dino, found=dino, found_decoder={"decoder": decoder})
    model = load.load_model("any", device="cpu", precision="fp32")
    convolution = nn.Conv2d(48, 1, 1)
    convolution.load_state_dict(decoder)
    built = TeacherGuidedClip(
        model.clip, Dino(build_vit(dino)), Found(Dino(build_vit(dino)), convolution), gamma=0.2
    )
    pixels = torch.rand(1, 3, 64, 80)
    ours, theirs = model.encode_image(pixels), built.encode_image(pixels)
    assert torch.equal(ours.features, theirs.features)
    assert torch.equal(ours.foreground, theirs.foreground)


def test_only_models_with_heads_take_heads_of_ones_own(tmp_path):
    with pytest.raises(SettingsError, match=r"clip-keys-refined cannot use the heads"):
        load.load_model("clip-keys-refined", heads=tmp_path / "heads.safetensors")
    with pytest.raises(SettingsError, match=r"Heads cannot be fitted to dinotxt-vitl14"):
        load.load_clip_model("dinotxt-vitl14")


@pytest.mark.parametrize(
    "name", ["clip-dinoiser", "maskclip", "clip-dino-guided", "clip-keys-refined"]
)
def test_the_catalogue_says_the_same_of_the_background_as_the_model(name):
    kinds = {
        "clip-dinoiser": load.ClipDinoiser,
        "maskclip": MaskClip,
        "clip-dino-guided": TeacherGuidedClip,
        "clip-keys-refined": KeyRefinedClip,
    }
    assert find_model(name).background == kinds[name].scoring.background
