"""Talk2DINO: the numbers of the published code, its files, and how a segmenter uses it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from dinoiser.batch.engines.shared_model import BatchedModel
from dinoiser.models.base import PatchFeatures
from dinoiser.models.talk2dino import Talk2Dino, TextProjection
from dinoiser.models.text import SEVEN_TEMPLATES, PhraseEmbeddings
from dinoiser.prompts import PromptSet
from dinoiser.segment.background import clean_background
from dinoiser.segment.passes import Passes
from dinoiser.segment.probability_map import ProbabilityMap, Tile
from dinoiser.segment.scoring import class_cosines, head_cosines, score_patches
from dinoiser.segment.segmenter import Segmenter
from dinoiser.segment.settings import WindowSettings
from dinoiser.segment.windows import WindowLayout
from tests.helpers.drawn_images import random_squares
from tests.helpers.official_dino import official_dino
from tests.helpers.places import SHARED
from tests.helpers.series import cases
from tests.helpers.small_talk2dino import small_talk2dino

OFFICIAL = SHARED / "talk2dino"
PROJECTIONS = {"": "vitb_mlp_infonce.safetensors", "v3_": "dinov3_vitb_mlp_infonce.safetensors"}


def close(actual, expected, atol=1e-4):
    np.testing.assert_allclose(np.asarray(actual), expected, atol=atol, rtol=0)


@pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="the official projections, of no stated licence, are not here"
)
@pytest.mark.parametrize("kind", PROJECTIONS, ids=["DINOv2", "DINOv3"])
class TestPublishedNumbers:
    @pytest.fixture
    def golden(self, kind):
        arrays = np.load(OFFICIAL / "golden.npz")
        found = {n.removeprefix(kind): arrays[n] for n in arrays if n.startswith(kind)}
        return {
            n: torch.from_numpy(array) for n, array in {**found, "": arrays["clip_text"]}.items()
        }

    @pytest.fixture
    def embeddings(self, golden, kind):
        with torch.no_grad():
            projected = TextProjection.load(OFFICIAL / PROJECTIONS[kind])(golden[""])
        close(projected, golden["text_projected"])
        return F.normalize(projected, dim=-1)

    @pytest.fixture
    def patches(self, golden):
        attention = golden["self_attn_maps"].unflatten(-1, (8, 8))
        return PatchFeatures(golden["patch_features"].mT.unflatten(2, (8, 8)), None, attention)

    def test_every_tensor_of_the_projection_is_taken(self, kind):
        projection = TextProjection.load(OFFICIAL / PROJECTIONS[kind])
        assert set(load_file(OFFICIAL / PROJECTIONS[kind])) == set(projection.state_dict())

    def test_projection_and_cosines(self, embeddings, patches, golden):
        close(embeddings, golden["text_projected_norm"])
        close(class_cosines(patches.features, embeddings), golden["simmap"])

    def test_cleaning(self, embeddings, patches, golden):
        heads = head_cosines(patches.features, patches.guide, embeddings)
        cleaned = clean_background(golden["mask"], patches.guide, heads.mT)
        close(cleaned, golden["mask_bg_clean"])

    def test_pixels_and_labels(self, embeddings, patches, golden):
        """Without a background classes alone; with one, cleaned and against the threshold."""
        everything = Tile(slice(0, 112), slice(0, 112))
        layout = WindowLayout.plan((112, 112), WindowSettings(whole=True))
        scoring = Talk2Dino.scoring_at(0.55)

        def pixels(counts, rows, has_background):
            scored = score_patches(patches, rows, counts, scoring, has_background=has_background)
            return ProbabilityMap.from_windows(scored, layout, spread="corners").pixels(everything)

        close(
            pixels([1] * 5, embeddings, False), golden["mask_up"][0], atol=3e-4
        )  # kept in float16
        with_words = torch.cat([torch.eye(1, 768), embeddings])
        cleaned = pixels([1] * 6, with_words, True)
        close(cleaned[1:], golden["mask_bg_clean_up"][0], atol=3e-4)
        np.testing.assert_array_equal(cleaned.argmax(0), golden["labels_bg055"][0])


@pytest.fixture
def model(make_clip):
    return small_talk2dino(make_clip(), official_dino())


class TestText:
    def test_templates_are_averaged_before_they_are_projected(self, model):
        embedding = PhraseEmbeddings(model).get(["red star"])[0]
        sentences = [template.replace("{}", "red star") for template in SEVEN_TEMPLATES]
        with torch.no_grad():
            raw = model.text.clip.encode_text(model.text.tokenize(sentences))
            expected = F.normalize(model.projection(raw.mean(0)), dim=-1)
            normalised_first = model.projection(F.normalize(raw, dim=-1).mean(0))
        torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=0)
        assert (F.normalize(normalised_first, dim=-1) - expected).abs().max() > 1e-3

    def test_templates_of_ones_own_are_taken_as_they_are(self, model):
        embedding = PhraseEmbeddings(model).get(["star"], ["a {}"])[0]
        torch.testing.assert_close(embedding, model.encode_text(["a star"])[0])

    def test_the_templates_are_seven_sentences(self):
        assert len(set(SEVEN_TEMPLATES)) == 7
        assert all(
            template.count("{}") == 1 and template.endswith(".") for template in SEVEN_TEMPLATES
        )


class TestSegmenting:
    def test_a_square_image_step_by_step(self, model):
        prompts = PromptSet.parse("background, dog, sky; clouds", templates=["a {}"])
        image = random_squares(448, 448)
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        seen = model.dino.encode(pixels)
        cosines = torch.einsum(
            "bdhw,kd->bkhw",
            F.normalize(seen.patches(), dim=1),
            model.encode_text(["a dog", "a sky", "a clouds"]),
        )
        classes = torch.stack([cosines[:, 0], cosines[:, 1:].amax(1)], 1).sigmoid()
        heads = head_cosines(
            seen.patches(), seen.attention, model.encode_text(["a dog", "a sky", "a clouds"])
        )
        relevance = torch.stack([heads[..., 0], heads[..., 1:].amax(-1)], 1)
        cleaned = clean_background(classes, seen.attention, relevance)
        enlarged = F.interpolate(cleaned, (448, 448), mode="bilinear", align_corners=True)
        best, winner = enlarged[0].max(0)
        expected = torch.where(best > 0.55, winner + 1, 0)
        labels = Segmenter(model, refine="none").segment(image, prompts).labels
        near_tie = (best - 0.55).abs() < 1e-5
        np.testing.assert_array_equal(labels[~near_tie.numpy()], expected[~near_tie].numpy())

    def test_the_background_is_a_threshold_and_not_a_word(self, model):
        encoded = Segmenter(model).encode(random_squares(448, 600))
        first = encoded.segment(PromptSet.parse("background, dog, sky")).labels
        other = encoded.segment(PromptSet.parse("background=wall; floor, dog, sky")).labels
        np.testing.assert_array_equal(first, other)
        model.scoring = Talk2Dino.scoring_at(0.99)
        nothing = Segmenter(model).segment(
            random_squares(448, 600), PromptSet.parse("background, dog")
        )
        assert not nothing.labels.any()
        model.scoring = Talk2Dino.scoring_at(0.01)
        everything = Segmenter(model).segment(
            random_squares(448, 600), PromptSet.parse("background, dog")
        )
        assert (everything.labels == 1).all()

    def test_two_unlike_classes_are_told_apart_though_both_are_below_one_half(self, model):
        model.scoring = Talk2Dino.scoring_at(0.55)
        encoded = Segmenter(model).encode(random_squares(448, 448))
        features = torch.zeros_like(encoded.patches.features)
        features[:, 0, :, :16] = features[:, 1, :, 16:] = 1
        with torch.no_grad():
            embeddings = -F.normalize(torch.eye(2, 64), dim=-1)
        scored = score_patches(
            PatchFeatures(features, None), embeddings, [1, 1], model.scoring, has_background=False
        )
        assert scored.max() <= 0.5
        found = Segmenter(model).pipeline.lay_out(scored, encoded.layout)
        assert found.winners() == [0, 1]

    def test_a_whole_image_is_seen_as_a_square_and_labelled_at_its_own_size(self, model):
        image = random_squares(300, 700)
        segmenter = Segmenter(model, whole=True, refine="none")
        encoded = segmenter.encode(image)
        assert encoded.patches.features.shape[-2:] == (32, 32)
        prompts = PromptSet.parse("dog, sky, grass")
        assert encoded.segment(prompts).labels.shape == (300, 700)
        stretched = F.interpolate(
            segmenter.pipeline.score(encoded.patches, prompts),
            (300, 700),
            mode="bilinear",
            align_corners=True,
        )
        heat = encoded.segment(prompts).probabilities("sky")
        np.testing.assert_allclose(heat, stretched[0, 1], atol=1e-5)

    def test_windows_of_several_threads_keep_their_attention(self, model):
        windows = torch.randint(0, 256, (3, 3, 448, 448), dtype=torch.uint8)
        with BatchedModel(model, Passes(2)) as shared:
            patches = shared.encode(windows.unbind())
        alone = model.encode_image(windows.float() / 255)
        torch.testing.assert_close(patches.features, alone.features, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(patches.guide, alone.guide, atol=1e-4, rtol=1e-4)


@cases(30)
@given(
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_corners_stay_where_they_are(grid, size, seed):
    patches = torch.rand(1, 2, *grid, generator=torch.manual_seed(seed))
    layout = WindowLayout.plan(size, WindowSettings(whole=True))
    found = ProbabilityMap.from_windows(patches, layout, spread="corners")
    pixels = found.pixels(Tile(slice(0, size[0]), slice(0, size[1])))
    expected = F.interpolate(patches, size, mode="bilinear", align_corners=True)[0]
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)
