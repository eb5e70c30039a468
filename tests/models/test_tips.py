"""TIPS v2 against the arrays of the published code, and its files in both layouts."""

import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, ModelError
from dinoiser.models import load
from dinoiser.models.catalog import find_model
from dinoiser.models.tips import TipsV2
from dinoiser.models.tips_tokenizer import TipsTokenizer
from dinoiser.models.tips_towers import HeadWidths, TipsTextTower, positions, read_towers
from dinoiser.prompts import PromptSet
from dinoiser.segment.in_parts.lazy import segment_array
from dinoiser.segment.objects import object_at
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.probability_map import Tile
from dinoiser.segment.resize import resize
from dinoiser.segment.segmenter import Segmenter
from dinoiser.segment.settings import SegmentSettings
from dinoiser.weights.checkpoint import read_tensors
from tests.helpers.official_tips import (
    FOLDER,
    HEAD_WIDTHS,
    put_files,
    write_authors_files,
    write_hub_file,
)

CONFIG = json.loads((FOLDER / "config.json").read_text())
CLASSES = CONFIG["classes"]
CASES = {name: case for name, case in CONFIG["cases"].items() if case["mode"] != "swiglu"}
HEADS = HeadWidths(*HEAD_WIDTHS)
LAYOUTS = pytest.mark.parametrize("write", [write_hub_file, write_authors_files])


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), expected, atol=1e-4, rtol=0)


def build(paths, head_widths=HEADS):
    vision, text = read_towers(paths, head_widths)
    return TipsV2(vision, text, TipsTokenizer(paths["tokenizer"]))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build(write_hub_file(tmp_path_factory.mktemp("tips")))


@pytest.fixture(scope="module")
def words():
    return np.load(FOLDER / "text.npz")


@pytest.fixture(scope="module")
def prompts():
    return PromptSet.parse(", ".join(CLASSES))


class Case:
    """One picture of the arrays, and how it is cut up."""

    def __init__(self, name):
        self.case = CASES[name]
        self.golden = np.load(FOLDER / f"{name}.npz")
        sizes = {k: v for k, v in self.case.items() if k in ("short_side", "window", "stride")}
        self.settings = SegmentSettings(**sizes, whole=not sizes, refine="none")

    def pipeline(self, model):
        return Pipeline.build(model, self.settings)

    def windows(self, pipeline):
        image = self.golden["image"]
        layout = pipeline.plan(image.shape[:2])
        seen = self.golden.get("resized", image)
        assert layout.working_size == seen.shape[:2]
        pixels = torch.from_numpy(seen).permute(2, 0, 1).float() / 255
        places = (window.slices(0, 0) for window in layout.windows)
        return layout, torch.stack([pixels[:, *place] for place in places])


@pytest.fixture(params=CASES)
def case(request):
    return Case(request.param)


class TestImages:
    def test_tokens_and_dense_features(self, model, case):
        _, windows = case.windows(case.pipeline(model))
        features = model.encode_image(windows[:1]).features[0]
        close(features.permute(1, 2, 0), case.golden["pass_features"])

    def test_tokens_with_their_positions(self, model, case):
        height, width = case.golden["pass_features"].shape[:2]
        _, windows = case.windows(case.pipeline(model))
        stretched = F.interpolate(
            windows[:1], (height * 14, width * 14), mode="bicubic", align_corners=False
        )
        tokens, grid = model.vision._embed(stretched)
        assert grid == (height, width)
        close(tokens[0], case.golden["pass_tokens"])

    def test_cosines_probabilities_and_labels(self, model, case, prompts):
        pipeline = case.pipeline(model)
        layout, windows = case.windows(pipeline)
        scores = pipeline.score(model.encode_image(windows), prompts)
        wanted = case.golden["window_cosines" if len(windows) > 1 else "cosines"]
        close(scores, wanted if wanted.ndim == 4 else wanted[None])
        found = pipeline.lay_out(scores, layout, prompts)
        if len(windows) > 1:
            published = replace(found, sharpness=1.0)
            at_work = replace(published, layout=replace(layout, size=layout.working_size))
            close(at_work.pixels(Tile.whole(layout.working_size)), case.golden["probabilities"])
        # labels are decided with the sharper probabilities, which must not change any
        labels, _ = pipeline.label(found, prompts, Tile.whole(layout.size))
        np.testing.assert_array_equal(labels - 1, case.golden["labels"])

    @pytest.mark.parametrize("name", [name for name in CASES if name.startswith("slide")])
    def test_images_are_resized_as_by_pillow(self, model, name):
        case = Case(name)
        image, resized = case.golden["image"], case.golden["resized"]
        size = case.pipeline(model).plan(image.shape[:2]).working_size
        found = resize(torch.from_numpy(image).permute(2, 0, 1), size, cubic=True)
        assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - resized).max() <= 2


class TestWords:
    def test_pieces(self, model, words):
        sentences = [t.replace("{}", c) for c in CLASSES for t in model.scoring.templates]
        ids, padded = (words[name].reshape(36, -1) for name in ("class_ids", "class_paddings"))
        for pieces, row, padding in zip(model.tokenize(sentences), ids, padded, strict=True):
            assert pieces == row[padding == 0].tolist()

    def test_only_ascii_capitals_are_lowered_and_64_pieces_are_kept(self, model, words):
        rows = zip(words["texts_ids"], words["texts_paddings"], strict=True)
        wanted = [ids[padding == 0].tolist() for ids, padding in rows]
        assert model.tokenize(CONFIG["texts"]) == wanted
        assert max(map(len, wanted)) == 64

    def test_positions(self, words):
        close(positions(7, 48), words["positions"])

    def test_sentences(self, model, words):
        texts = words["texts_features"]
        close(model.encode_text(CONFIG["texts"]), F.normalize(torch.from_numpy(texts), dim=1))
        sentences = [t.replace("{}", CLASSES[0]) for t in model.scoring.templates]
        pieces = model.tokenize(sentences)
        alone = [model.text(torch.tensor([ids]))[0].detach().numpy() for ids in pieces]
        close(alone, words["class0_sentences"])
        cut = torch.from_numpy(words["cut_ids"]).long()
        close(model.text(cut).detach(), words["cut_features"])

    def test_classes(self, model, prompts, words):
        close(Pipeline.build(model, SegmentSettings()).embed(prompts), words["class_features"])


class TestConfidence:
    @pytest.fixture
    def image(self):
        return np.load(FOLDER / "whole_native.npz")["image"]

    def test_it_is_that_of_the_trained_temperature(self, model, prompts, image):
        result = Segmenter(model, whole=True, refine="none").segment(image, prompts)
        golden = np.load(FOLDER / "whole_native.npz")
        cosines = torch.from_numpy(golden["cosines"])[None]
        enlarged = F.interpolate(cosines, image.shape[:2], mode="bilinear", align_corners=False)
        confidence = (enlarged[0].double() / 0.005).softmax(0).amax(0)
        np.testing.assert_allclose(result.confidence, confidence, atol=2e-3)
        np.testing.assert_array_equal(result.labels - 1, golden["labels"])

    def test_heat_maps_sum_to_one_and_agree_with_it(self, model, prompts, image):
        sizes = {"short_side": 84, "window": 60, "stride": 30}
        result = Segmenter(model, **sizes, refine="none").segment(image, prompts)
        maps = np.stack([result.probabilities(name) for name in CLASSES])
        np.testing.assert_allclose(maps.sum(0), 1, atol=1e-5)
        np.testing.assert_allclose(maps.max(0), result.confidence, atol=1e-3)

    def test_pixels_below_a_confidence_are_left_out(self, model, image):
        prompts = PromptSet.parse(", ".join(CLASSES), ignore_below=0.5)
        segmenter = Segmenter(model, whole=True, refine="none")
        result = segmenter.segment(image, prompts)
        np.testing.assert_array_equal(result.labels == 255, result.confidence < 0.5)
        assert 0 < (result.labels == 255).mean() < 1


class TestInUse:
    @pytest.mark.parametrize("refine", ["none", "edges"])
    def test_parts_are_the_whole(self, model, prompts, refine, monkeypatch):
        monkeypatch.setattr("dinoiser.segment.in_parts.lazy.PART_SIZE", (64, 64))
        monkeypatch.setattr("dinoiser.segment.windows.BLOCK_SIDE", 50)
        image = np.load(FOLDER / "slide_landscape.npz")["image"]
        keywords = {"short_side": 84, "window": 56, "stride": 28, "refine": refine}
        whole = Segmenter(model, **keywords).segment(image, prompts)
        parts = segment_array(da.from_array(image, (50, 60, 3)), prompts, model, **keywords)
        assert parts.numblocks == (2, 3)
        np.testing.assert_array_equal(parts.compute(), whole.labels)

    def test_an_object_is_found(self, model):
        image = np.load(FOLDER / "slide_landscape.npz")["image"]
        encoded = Segmenter(model, short_side=84, window=84, stride=63).encode(image)
        found = object_at(encoded, 40, 70)
        assert found[40, 70]
        assert not found.all()


class TestFiles:
    @LAYOUTS
    def test_both_layouts_are_the_same_model(self, model, write, tmp_path):
        other = build(write(tmp_path))
        pixels = torch.rand(2, 3, 50, 71)
        assert torch.equal(model.encode_image(pixels).features, other.encode_image(pixels).features)
        texts = ["a photo of a dog.", "Swivel chair"]
        assert torch.equal(model.encode_text(texts), other.encode_text(texts))

    @LAYOUTS
    def test_the_catalogue_loads_either(self, write, tmp_path, monkeypatch):
        """Small files in the places of the real ones, whose heads have 64 channels."""
        monkeypatch.setenv("DINOISER_CACHE", str(tmp_path))
        entry = find_model("tipsv2-l")
        paths = write(tmp_path)
        put_files(entry, paths)
        loaded = load.load_model("tipsv2-l", device="cpu", precision="fp32")
        assert loaded.scoring.confidence_temperature == pytest.approx(1 / 0.004785)
        assert loaded.windows == entry.windows
        assert entry.background == loaded.scoring.background
        pixels = torch.rand(1, 3, 56, 56)
        assert torch.equal(
            loaded.encode_image(pixels).features,
            build(paths, HeadWidths()).encode_image(pixels).features,
        )

    def test_what_is_wrong_with_a_file_is_said(self, tmp_path):
        paths = write_authors_files(tmp_path)
        with pytest.raises(CheckpointError, match=r"text\.npz does not contain TIPS v2: expected"):
            read_towers({"towers": paths["text"]})
        with pytest.raises(CheckpointError, match=r"vision\.npz does not contain the text tower"):
            read_towers({"vision": paths["vision"], "text": paths["vision"]}, HEADS)
        with pytest.raises(CheckpointError, match=r"text\.npz does not contain a vision transf"):
            read_towers({"vision": paths["text"], "text": paths["text"]}, HEADS)
        with pytest.raises(CheckpointError, match="not a sentencepiece model"):
            TipsTokenizer(paths["text"])
        with pytest.raises(CheckpointError, match="is missing, damaged or"):
            TipsTokenizer(tmp_path / "none.model")

    def test_towers_of_two_models_do_not_go_together(self, model):
        text = TipsTextTower(width=64, depth=1, hidden=64, heads=1, vocabulary=480)
        with pytest.raises(CheckpointError, match=r"48 channels and the text tower 64"):
            TipsV2(model.vision, text, model.tokenize)

    def test_without_sentencepiece_nothing_is_fetched(self, monkeypatch):
        monkeypatch.setattr("dinoiser.models.load.find_spec", lambda _name: None)
        monkeypatch.setattr("dinoiser.models.load.fetch_all", lambda *_: pytest.fail("fetched"))
        with pytest.raises(ModelError, match="tipsv2-b needs the package sentencepiece"):
            load.load_model("tipsv2-b", device="cpu")


def test_arrays_with_code_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([print], dtype=object))
    with pytest.raises(CheckpointError, match=r"x\.npz is damaged or unfinished \(Object arrays"):
        read_tensors(tmp_path / "x.npz")
