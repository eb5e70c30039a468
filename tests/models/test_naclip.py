"""NACLIP against the arrays of the published code."""

import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dinoiser.models import load
from dinoiser.models.catalog import ModelEntry, find_model
from dinoiser.models.clip import Clip
from dinoiser.models.naclip import NaClip, neighbourhood
from dinoiser.models.text import PhraseEmbeddings
from dinoiser.prompts import PromptSet
from dinoiser.segment.in_parts.lazy import segment_array
from dinoiser.segment.objects import object_at
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.probability_map import Tile
from dinoiser.segment.refine import refine_map
from dinoiser.segment.segmenter import Segmenter
from dinoiser.segment.settings import SegmentSettings
from dinoiser.segment.windows import WindowLayout, spans
from tests.helpers.places import GOLDENS

FOLDER = GOLDENS / "naclip"
CONFIG = json.loads((FOLDER / "config.json").read_text())
PHRASES = [line.split(", ") for line in (FOLDER / "classes.txt").read_text().splitlines()]
CASES = pytest.mark.parametrize("name", CONFIG["cases"])


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def clip():
    sizes = CONFIG["model"]
    vision = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 3, "head_width": 16}
    text = {"width": sizes["text_width"], "heads": 2, "layers": 2}
    clip = Clip(sizes["embed_dim"], vision, text, quick_gelu=True)
    weights = load_file(FOLDER / "weights.safetensors")
    table = torch.zeros(49408, 32)
    table[weights.pop("token_embedding.ids").long()] = weights.pop("token_embedding.rows").float()
    floats = {name: tensor.float() for name, tensor in weights.items()}
    differences = clip.load_state_dict({**floats, "token_embedding.weight": table}, strict=False)
    assert set(differences.missing_keys) <= {"logit_scale"}
    assert set(differences.unexpected_keys) <= {"attn_mask"}
    return clip


@pytest.fixture(scope="module")
def prompts():
    """The classes of the arrays, of which the first is the background."""
    background, *others = ("; ".join(phrases) for phrases in PHRASES)
    return PromptSet.parse(", ".join([f"background={background}", *others]))


class Case:
    """One picture of the arrays, and a model with its settings."""

    def __init__(self, clip, name):
        settings = CONFIG["cases"][name]
        self.golden = np.load(FOLDER / f"{name}.npz")
        self.model = NaClip(clip, settings["sigma"])
        # instead of the 0.1 of the published evaluations
        least = settings["threshold"]
        self.model.scoring = replace(NaClip.scoring, least_background=least)
        self.refined = settings["pamr_steps"] > 0
        self.pixels = torch.from_numpy(self.golden["image"]).permute(2, 0, 1).float() / 255
        size, crop, stride = settings["size"], settings["crop"], settings["stride"]
        rows, columns = (spans(length, crop or length, stride) for length in size)
        self.layout = WindowLayout(tuple(settings["original"]), tuple(size), rows, columns)

    @property
    def windows(self):
        places = (window.slices(0, 0) for window in self.layout.windows)
        return torch.stack([self.pixels[:, *place] for place in places])

    def map(self, prompts):
        pipeline = Pipeline.build(self.model, SegmentSettings(refine="none"))
        scores = pipeline.score(self.model.encode_image(self.windows), prompts)
        return pipeline.lay_out(scores, self.layout, prompts)


@pytest.fixture
def case(clip, name):
    return Case(clip, name)


class TestEveryStage:
    @CASES
    def test_tokens_with_their_positions(self, case):
        tokens, _ = case.model._embed(case.windows[:1])
        close(tokens[0], case.golden["pass_tokens"])

    @CASES
    def test_the_neighbourhood(self, case):
        grid = case.golden["pass_features"].shape[:2]
        near = torch.cat(list(neighbourhood(grid, case.model.sigma)))
        close(near, case.golden["pass_gaussian"][1:])

    @CASES
    def test_dense_features(self, case):
        features = case.model.encode_image(case.windows[:1]).features[0]
        close(features.permute(1, 2, 0), case.golden["pass_features"])

    @CASES
    def test_cosines_of_phrases_over_windows(self, case, prompts):
        cosines = case.map(prompts).to_refine()
        working = replace(case.layout, size=case.layout.working_size)
        found = replace(cosines, layout=working).pixels(Tile.whole(working.size))
        close(found, case.golden["cosines"])

    @CASES
    def test_probabilities_and_labels(self, case, prompts):
        found = case.map(prompts)
        if case.refined:
            found = refine_map(found, case.pixels, case.model.scoring.dilations)
            close(found.to_refine().pixels(Tile.whole(found.layout.size)), case.golden["refined"])
        pixels = found.pixels(Tile.whole(found.layout.size))
        np.testing.assert_array_equal(pixels.argmax(0), case.golden["labels"])
        close(pixels[1:], case.golden["probabilities"][1:])
        # the background has at least what a class must reach
        assert (pixels[0].numpy() >= case.golden["probabilities"][0] - 1e-4).all()
        without = replace(found, least_background=0.0).pixels(Tile.whole(found.layout.size))
        close(without, case.golden["probabilities"])


def test_embeddings_of_phrases(clip):
    phrases = [phrase for some in PHRASES for phrase in some]
    close(
        PhraseEmbeddings(NaClip(clip)).get(phrases), np.load(FOLDER / "text.npz")["query_features"]
    )


@pytest.fixture(scope="module")
def segmenter(clip):
    return Segmenter(NaClip(clip), short_side=96, window=64, stride=32)


@pytest.fixture(scope="module")
def image():
    golden = np.load(FOLDER / "slide.npz")["image"]
    return golden.repeat(2, 0).repeat(2, 1)


class TestInUse:
    @pytest.mark.parametrize("refine", ["none", "edges"])
    def test_parts_are_the_whole(self, segmenter, image, prompts, refine, monkeypatch):
        monkeypatch.setattr("dinoiser.segment.in_parts.lazy.PART_SIZE", (64, 64))
        monkeypatch.setattr("dinoiser.segment.windows.BLOCK_SIDE", 50)
        keywords = {"short_side": 96, "window": 64, "stride": 32, "refine": refine}
        model = segmenter.pipeline.model
        whole = Segmenter(model, **keywords).segment(image, prompts)
        parts = segment_array(da.from_array(image, (70, 90, 3)), prompts, model, **keywords)
        assert parts.numblocks == (3, 4)
        np.testing.assert_array_equal(parts.compute(), whole.labels)

    def test_heat_maps_say_what_confidence_and_ranking_say(self, segmenter, image, prompts):
        result = segmenter.segment(image, prompts)
        for row, column in ((0, 0), (70, 111), (159, 215)):
            (first, best), *_ = sorted(result.ranking(row, column), key=lambda pair: -pair[1])
            assert best == pytest.approx(result.probabilities(first)[row, column], abs=1e-6)
        assert (result.confidence > 0).all()
        assert (result.confidence <= 1).all()

    def test_an_image_can_be_encoded_once_and_asked_twice(self, segmenter, image, prompts):
        encoded = segmenter.encode(image)
        direct = segmenter.segment(image, prompts)
        np.testing.assert_array_equal(encoded.segment(prompts).labels, direct.labels)
        assert set(np.unique(encoded.segment(PromptSet.parse("cat; dog")).labels)) == {1}

    def test_an_object_is_found(self, segmenter, image):
        found = object_at(segmenter.encode(image), 80, 100)
        assert found[80, 100]
        assert not found.all()

    def test_the_background_has_a_tenth_everywhere(self, segmenter, image):
        """Where no class has more, pixels belong to it."""
        words = ", ".join(f"word {number}" for number in range(30))
        without = segmenter.segment(image, PromptSet.parse(words))
        with_it = segmenter.segment(image, PromptSet.parse(f"background, {words}"))
        assert with_it.probabilities("background").min() >= 0.1
        assert (with_it.labels == 0).mean() > (without.confidence < 0.1).mean() * 0.9

    def test_an_image_smaller_than_a_patch_is_padded(self, clip):
        assert NaClip(clip).encode_image(torch.rand(1, 3, 5, 40)).features.shape[-2:] == (1, 2)


def test_a_large_neighbourhood_is_computed_in_rows(monkeypatch):
    [whole] = neighbourhood((7, 5), 2.0)
    monkeypatch.setattr("dinoiser.models.naclip.WEIGHTS_AT_ONCE", 2 * 7 * 5 * 5)
    some = list(neighbourhood((7, 5), 2.0))
    assert [len(rows) for rows in some] == [10, 10, 10, 5]
    assert torch.equal(torch.cat(some), whole)


def test_the_catalogue_builds_it(monkeypatch):
    entry = find_model("naclip")
    assert (entry.windows.short_side, entry.windows.window, entry.windows.stride) == (336, 224, 112)
    assert entry.background == NaClip.scoring.background
    tiny = find_model("maskclip-tiny").model_dump(exclude={"method"})
    made = ModelEntry.model_validate({**tiny, "method": "naclip"})
    monkeypatch.setattr(load, "find_model", lambda _name: made)
    model = load.load_model("any", device="cpu", precision="fp32")
    pixels = torch.rand(1, 3, 64, 80)
    built = NaClip(model.clip).encode_image(pixels).features
    assert torch.equal(model.encode_image(pixels).features, built)
    assert model.scoring == NaClip.scoring
