"""The published code's numbers, reproduced: every stage, the windows, and the text."""

import json

import numpy as np
import open_clip
import pytest
import torch

from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.maskclip import MaskClip, pad_to_patches, position_table
from dinoiser.models.pooling import pool_by_correlation
from dinoiser.models.text import PhraseEmbeddings, template_sentences
from dinoiser.segment.background import apply_background
from dinoiser.segment.probability_map import ProbabilityMap, Tile
from dinoiser.segment.scoring import class_probabilities
from dinoiser.segment.settings import WindowSettings
from dinoiser.segment.windows import WindowLayout, spans
from tests.helpers.places import GOLDENS

CLOSE = {"atol": 1e-4, "rtol": 0}


def close(actual, expected, **tolerance):
    np.testing.assert_allclose(np.asarray(actual), expected, **(tolerance or CLOSE))


def whole_map(found):
    height, width = found.layout.size
    return found.pixels(Tile(slice(0, height), slice(0, width)))


@pytest.fixture(scope="module")
def tiny(tiny_clip):
    heads = DinoiserHeads.load(GOLDENS / "clip_dinoiser_tiny" / "heads.safetensors")
    return ClipDinoiser(tiny_clip, heads)


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDENS / "clip_dinoiser_tiny" / "golden.npz")


@pytest.mark.parametrize("case", ["a", "b"], ids=["64x96", "75x110, padded"])
class TestEveryStage:
    def test_padding(self, tiny, golden, case):
        padded = pad_to_patches(torch.from_numpy(golden[f"{case}_input"]), tiny.patch_size)
        close(padded, golden[f"{case}_padded"], atol=0)

    def test_position_table(self, tiny, golden, case):
        grid = golden[f"{case}_dense"].shape[-2:]
        table = position_table(tiny.visual.positional_embedding, tiny.visual.grid_size, grid)
        close(table, golden[f"{case}_pos_embed"])

    def test_dense_features_and_what_the_heads_read(self, tiny, golden, case):
        patches = tiny.encode_patches(torch.from_numpy(golden[f"{case}_input"]))
        close(patches.features, golden[f"{case}_dense"])
        tokens = golden[f"{case}_ln2_tokens"][:, 1:]
        close(patches.guide.flatten(2).transpose(1, 2), tokens)

    def test_correlations(self, tiny, golden, case):
        patches = tiny.encode_patches(torch.from_numpy(golden[f"{case}_input"]))
        embeddings, _ = tiny.heads(patches.guide)
        unit = torch.nn.functional.normalize(embeddings.flatten(2), dim=1)
        close(
            unit.transpose(1, 2) @ unit, golden[f"{case}_corrs_raw"].reshape(1, len(unit[0, 0]), -1)
        )

    def test_pooled_features_and_objectness(self, tiny, golden, case):
        features = tiny.encode_image(torch.from_numpy(golden[f"{case}_input"]))
        close(features.features, golden[f"{case}_pooled"])
        close(features.foreground, golden[f"{case}_bkg_logits"][:, 0])

    def test_probabilities(self, tiny, tiny_clip, golden, case):
        pixels = torch.from_numpy(golden[f"{case}_input"])
        classes = torch.from_numpy(golden["class_embeddings"])
        plain = class_probabilities(MaskClip(tiny_clip).encode_image(pixels).features, classes)
        close(plain, golden[f"{case}_maskclip_probs"])
        features = tiny.encode_image(pixels)
        pooled = class_probabilities(features.features, classes)
        close(pooled, golden[f"{case}_probs"])
        close(apply_background(pooled, features.foreground), golden[f"{case}_probs_bkg"])

    def test_pixels_of_the_published_demo_and_evaluation(self, golden, case):
        patches = torch.from_numpy(golden[f"{case}_probs_bkg"])
        size = golden[f"{case}_labels_demo"].shape
        layout = WindowLayout.plan(size, WindowSettings(whole=True))
        demo = whole_map(ProbabilityMap.from_windows(patches, layout, patch_size=16))
        np.testing.assert_array_equal(demo.argmax(0), golden[f"{case}_labels_demo"])
        stretched = whole_map(ProbabilityMap.from_windows(patches, layout))
        close(stretched, golden[f"{case}_probs_eval_full"][0], atol=1e-3)  # stored as float16

    def test_a_batch_is_its_single_images(self, tiny, golden, case):
        pixels = torch.from_numpy(golden[f"{case}_input"])
        batch = torch.cat([pixels, pixels.flip(-1), pixels * 0.5])
        classes = torch.from_numpy(golden["class_embeddings"])

        def filtered(some):
            features = tiny.encode_image(some)
            return apply_background(
                class_probabilities(features.features, classes), features.foreground
            )

        singles = torch.cat([filtered(one[None]) for one in batch])
        close(filtered(batch), singles, atol=2e-5)


@pytest.fixture(scope="module")
def slide():
    return np.load(GOLDENS / "clip_dinoiser_tiny" / "slide.npz")


@pytest.fixture(scope="module")
def patches(tiny, golden, slide):
    pixels = torch.from_numpy(slide["input"])
    windows = [pixels[..., a:b, c:d] for a, b, c, d in slide["windows_y1y2x1x2"]]
    features = tiny.encode_image(torch.cat(windows))
    classes = torch.from_numpy(golden["class_embeddings"])
    return apply_background(class_probabilities(features.features, classes), features.foreground)


class TestWindows:
    def layout(self, size):
        return WindowLayout(size, (75, 110), spans(75, 64, 32), spans(110, 64, 32))

    def test_lie_where_mmsegmentation_puts_them(self, slide):
        np.testing.assert_array_equal(self.layout((75, 110)).windows, slide["windows_y1y2x1x2"])

    def test_mean_of_their_probabilities(self, patches, slide):
        mean = whole_map(ProbabilityMap.from_windows(patches, self.layout((75, 110))))
        close(mean, slide["probs_mean"][0], atol=1e-3)  # stored as float16
        np.testing.assert_array_equal(mean.argmax(0), slide["labels"][0])

    def test_labels_at_the_size_of_the_image(self, patches, slide):
        full = whole_map(ProbabilityMap.from_windows(patches, self.layout((90, 131))))
        np.testing.assert_array_equal(full.argmax(0), slide["labels_at_90x131"][0])


def test_class_embeddings(tiny_clip):
    golden = np.load(GOLDENS / "clip_dinoiser_tiny" / "text_golden.npz")
    model = MaskClip(tiny_clip)
    assert list(template_sentences("imagenet")) == list(golden["templates"])
    sentences = [t.replace("{}", golden["classes"][3]) for t in golden["templates"]]
    np.testing.assert_array_equal(model.text.tokenize(sentences), golden["token_ids"][3])
    raw = torch.nn.functional.normalize(torch.from_numpy(golden["raw_class3"]), dim=-1)
    close(model.encode_text(sentences), raw)
    close(PhraseEmbeddings(model).get(list(golden["classes"])), golden["class_embeddings"])


@pytest.fixture(scope="module")
def stored():
    return np.load(GOLDENS / "clip_dinoiser_full" / "golden.npz")


@pytest.fixture(scope="module")
def model(stored):
    torch.manual_seed(0)
    clip = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16"))
    folder = GOLDENS / "clip_dinoiser_full"
    sums = json.loads((folder / "visual_checksums.json").read_text())
    for name, (_, magnitude, first) in sums["checksums_sum_abssum_first"].items():
        tensor = clip.state_dict()[name if name.startswith("visual.") else f"visual.{name}"]
        if not np.isclose(tensor.abs().double().sum(), magnitude) or not np.isclose(
            tensor.flatten()[0], first
        ):
            pytest.skip(f"this torch draws other random weights than the golden's ({name})")
    heads = DinoiserHeads(768, 256)
    halves = [np.load(folder / f"obj_proj_{half}_half.npy") for half in ("first", "second")]
    arrays = {"obj_proj.weight": np.concatenate(halves).astype(np.float32)}
    arrays |= {name: stored[name] for name in heads.state_dict() if name not in arrays}
    heads.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return ClipDinoiser(clip, heads)


class TestFullSize:
    """ViT-B/16 with random weights; arrays are stored as float16."""

    def test_every_stage(self, model, stored):
        pixels = torch.from_numpy(stored["rect_input_u8"]).float() / 255
        patches = model.encode_patches(pixels)
        embeddings, foreground = model.heads(patches.guide)
        half = {"rtol": 2e-3, "atol": 1e-3}
        close(patches.features[:, :256], stored["rect_dense_ch0_255"], **half)
        close(foreground, stored["rect_bkg_logits"][:, 0])
        unit = torch.nn.functional.normalize(embeddings.flatten(2), dim=1)[0]
        correlations = unit.T @ unit
        close(correlations[0].view(28, 38), stored["rect_corr_row0"][0])
        kept = correlations.where(correlations >= 0.2, 0).sum(1)
        close(kept, stored["rect_corr_rowsum"][0], rtol=1e-3, atol=0.25)  # one flip is 0.2
        pooled = pool_by_correlation(patches.features, embeddings)
        close(pooled[:, :128], stored["rect_pooled_ch0_127"], **half)
        classes = torch.from_numpy(stored["class_embeddings"])
        close(class_probabilities(patches.features, classes), stored["rect_maskclip_probs"], **half)
        probabilities = class_probabilities(pooled, classes)
        close(probabilities, stored["rect_probs"], **half)
        filtered = apply_background(probabilities, foreground)
        different = np.abs(filtered.numpy() - stored["rect_probs_bkg"]) > 2e-3
        assert different.sum() <= 2  # positions within 1e-4 of delta, as the golden's notes say

    def test_two_windows(self, model, stored):
        slide = np.load(GOLDENS / "clip_dinoiser_full" / "slide.npz")
        pixels = torch.from_numpy(slide["input_u8"]).float() / 255
        layout = WindowLayout.plan((448, 672), WindowSettings())
        windows = [pixels[0, :, w.top : w.bottom, w.left : w.right] for w in layout.windows]
        features = model.encode_image(torch.stack(windows))
        classes = torch.from_numpy(stored["class_embeddings"])
        probabilities = apply_background(
            class_probabilities(features.features, classes), features.foreground
        )
        full = whole_map(ProbabilityMap.from_windows(probabilities, layout))
        close(full[:, ::4, ::4], slide["probs_bkg_full"][0], rtol=2e-3, atol=2e-3)
        assert (full.argmax(0).numpy() == slide["labels"][0]).mean() > 0.9999
