"""dino.txt over DINOv2 and DINOv3: the numbers of the published code, and its files."""

import dask
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, SettingsError, WeightsError
from dinoiser.models import load
from dinoiser.models.base import PatchFeatures
from dinoiser.models.catalog import ModelEntry, find_model
from dinoiser.models.dino_registers import RegisterDino, build_register_vit
from dinoiser.models.dinotxt import SCORING, DinoTxt
from dinoiser.models.dinotxt_towers import DinoTextTower, VisionHead, read_towers
from dinoiser.models.teachers.dino import IMAGENET_MEAN, IMAGENET_STD
from dinoiser.prompts import PromptSet
from dinoiser.segment import probability_map, windows
from dinoiser.segment.encoded_image import EncodedImage
from dinoiser.segment.in_parts import lazy
from dinoiser.segment.in_parts.lazy import lazy_segmentation
from dinoiser.segment.scoring import score_patches
from dinoiser.segment.segmenter import Segmenter
from dinoiser.segment.windows import WindowLayout
from tests.helpers.official_dinotxt import BACKBONES, FOLDER, HEAD_WIDTH, part, write_official


def close(actual, expected, atol=1e-4):
    np.testing.assert_allclose(np.asarray(actual), expected, atol=atol, rtol=0)


def pixels_of(golden):
    """The image before its normalisation, which is the model's."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.from_numpy(golden["image"]) * std + mean


@pytest.fixture(params=["dinov2", "dinov3"])
def version(request):
    return request.param


@pytest.fixture
def golden(version):
    return np.load(FOLDER / f"{version}.npz")


@pytest.fixture
def tensors(version):
    return load_file(FOLDER / f"{version}.safetensors")


@pytest.fixture
def model(tensors, version, tmp_path):
    paths = write_official(tensors, version, tmp_path)
    dino = RegisterDino.load(paths["dino"], HEAD_WIDTH)
    return DinoTxt(dino, *read_towers(paths, HEAD_WIDTH))


def segment_golden(model, golden):
    """Label the golden's image by the engine, with its own tokens in the place of words."""
    tokens = dict(zip("abcde", torch.from_numpy(golden["token_ids"]), strict=True))
    model.tokenize = lambda texts: torch.stack([tokens[text] for text in texts])
    segmenter = Segmenter(model, whole=True, refine="none")
    pixels = pixels_of(golden)
    layout = WindowLayout.plan(tuple(pixels.shape[-2:]), segmenter.pipeline.windows)
    blank = np.zeros((*layout.size, 3), np.uint8)
    encoded = EncodedImage(segmenter.pipeline, blank, layout, model.encode_image(pixels))
    return encoded.segment(PromptSet.parse("a, b, c, d, e", templates=["{}"]))


class TestPublishedNumbers:
    def test_backbone(self, model, golden):
        tokens = model.dino.encode(pixels_of(golden)).tokens
        close(tokens[:, 0], golden["backbone_cls"])
        close(tokens[:, 1:5], golden["backbone_registers"])
        close(tokens[:, 5:], golden["backbone_patches"])

    def test_vision_head(self, model, golden):
        tokens = model.head(model.dino.encode(pixels_of(golden)).tokens)
        close(tokens[:, 0].detach(), golden["head_cls"])
        features = model.encode_image(pixels_of(golden)).features
        close(features.flatten(2).mT, golden["head_patches"])
        image = torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], -1).detach()
        close(image, golden["image_features"])

    def test_the_tokens_before_the_head_are_those_of_the_literal_notebook(self, model, golden):
        literal = DinoTxt(model.dino, model.head, model.text, tokens="backbone")
        features = literal.encode_image(pixels_of(golden)).features
        close(features.flatten(2).mT, golden["backbone_patches"])
        with pytest.raises(SettingsError, match="tokens is 'heads', expected 'head' or"):
            DinoTxt(model.dino, model.head, model.text, tokens="heads")

    def test_text_tower_reads_its_end_token(self, model, golden):
        ids = torch.from_numpy(golden["token_ids"])
        close(model.text(ids).detach(), golden["text_features"])
        second_half = golden["text_features"][:, 64:]
        unit = second_half / np.linalg.norm(second_half, axis=1, keepdims=True)
        close(model.encode_tokens(ids).detach(), unit)

    def test_cosines_of_patches(self, model, golden):
        patches = model.encode_image(pixels_of(golden))
        embeddings = model.encode_tokens(torch.from_numpy(golden["token_ids"])).detach()
        cosines = score_patches(patches, embeddings, [1] * 5, SCORING[3], has_background=False)
        close(cosines, golden["seg_cos"])

    def test_probabilities_of_pixels_in_the_third_notebook(self, model, golden):
        model.scoring = SCORING[3]
        result = segment_golden(model, golden)
        theirs = golden["seg_slide_probs"][0]  # float16
        assert theirs.dtype == np.float16
        ours = np.stack([result.probabilities(name) for name in result.prompts.names])
        close(ours, theirs, atol=np.spacing(theirs.max()) / 2 + 1e-6)
        np.testing.assert_array_equal(result.labels, 1 + ours.argmax(0))
        cosines = torch.from_numpy(golden["seg_cos"])
        enlarged = F.interpolate(cosines, theirs.shape[1:], mode="bilinear")[0]
        np.testing.assert_array_equal(result.labels, 1 + enlarged.argmax(0))

    def test_labels_of_pixels_in_the_second_notebook(self, model, golden):
        model.scoring = SCORING[2]
        result = segment_golden(model, golden)
        np.testing.assert_array_equal(result.labels, 1 + golden["seg_v2_labels"][0])

    def test_each_generation_has_its_own_notebook(self, model, version):
        assert model.scoring == {"dinov2": SCORING[2], "dinov3": SCORING[3]}[version]


class TestFiles:
    def test_a_model_built_by_hand_is_the_one_from_its_files(self, model, tensors, version):
        dino = RegisterDino(build_register_vit(part(tensors, BACKBONES[version]), HEAD_WIDTH))
        head = VisionHead.from_tensors(part(tensors, "visual_model.head."), HEAD_WIDTH)
        text = DinoTextTower.from_tensors(part(tensors, "text_model."), HEAD_WIDTH)
        built = DinoTxt(dino, head, text)
        pixels = torch.rand(2, 3, 50, 71)
        assert torch.equal(model.encode_image(pixels).features, built.encode_image(pixels).features)

    def test_what_differs_is_listed(self, tensors, version, tmp_path):
        more = {**tensors, "visual_model.head.extra": torch.zeros(2)}
        del more["text_model.backbone.ln_final.bias"]
        paths = write_official(more, version, tmp_path)
        with pytest.raises(CheckpointError, match=r"extra is unexpected"):
            read_towers(paths, HEAD_WIDTH)
        del more["visual_model.head.extra"]
        paths = write_official(more, version, tmp_path)
        with pytest.raises(CheckpointError, match=r"ln_final\.bias is missing"):
            read_towers(paths, HEAD_WIDTH)

    def test_a_backbone_with_other_weights_is_refused(self, tensors, version):
        backbone = part(tensors, BACKBONES[version])
        backbone["blocks.0.norm1.weight"] = torch.zeros(3)
        with pytest.raises(CheckpointError, match=r"blocks\.0\.norm1\.weight: \(3,\) != \(64,\)"):
            build_register_vit(backbone, HEAD_WIDTH)
        with pytest.raises(
            CheckpointError, match="does not contain a vision transformer with registers"
        ):
            build_register_vit({"visual.conv1.weight": torch.zeros(1)})

    def test_files_of_two_models_do_not_go_together(self, model, tensors):
        text = part(tensors, "text_model.")
        text["head.linear_projection.weight"] = torch.zeros(100, 32)
        with pytest.raises(CheckpointError, match=r"64 channels, .* vectors 100"):
            DinoTxt(model.dino, model.head, DinoTextTower.from_tensors(text, HEAD_WIDTH))

    def test_another_file_is_no_head_and_text(self, tmp_path):
        torch.save({"blocks.0.attn.qkv.weight": torch.zeros(1)}, tmp_path / "x.pth")
        with pytest.raises(CheckpointError, match=r"not a vision head and text encoder.*blocks\.0"):
            read_towers({"head_and_text": tmp_path / "x.pth"})


def test_sizes_that_are_no_multiples_of_the_patch_are_stretched(model):
    side = 4 * model.patch_size
    pixels = torch.rand(1, 3, side - 5, side + 3)
    stretched = F.interpolate(pixels, (side, side + model.patch_size), mode="bicubic")
    features = model.encode_image(pixels).features
    assert features.shape[-2:] == (4, 5)
    torch.testing.assert_close(features, model.encode_image(stretched).features)


def words(texts):
    """Tokens of texts: the goldens' vocabulary has 600 words."""
    ids = torch.zeros(len(texts), 77, dtype=torch.long)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor([ord(letter) for letter in text])
        row[len(text)] = 599
    return ids


def test_a_class_named_background_is_a_class_like_any_other(model):
    """It is in no way preferred: under another name it gets the same pixels."""

    model.tokenize = words
    segmenter = Segmenter(model, short_side=56, window=56, stride=28, refine="none")
    image = np.random.default_rng(3).integers(0, 256, (56, 70, 3), np.uint8)
    encoded = segmenter.encode(image)

    def probabilities(text):
        prompts = PromptSet.parse(text, templates=["{}"])
        patches = encoded.patches
        return segmenter.pipeline.score(PatchFeatures(patches.features, None), prompts)

    torch.testing.assert_close(
        probabilities("background, dog, sky"), probabilities("thing=background, dog, sky")
    )


def test_in_parts_an_image_gets_the_same_labels(model, monkeypatch):
    """Also where the windows of a part are planned before the model is loaded."""
    model.tokenize = words
    image = np.random.default_rng(3).integers(0, 256, (300, 431, 3), np.uint8)
    prompts = PromptSet.parse("dog, sky, tall grass", templates=["{}"])
    sizes = {"short_side": 140, "window": 112, "stride": 56, "refine": "none"}
    eager = Segmenter(model, **sizes).segment(image, prompts)
    assert len(np.unique(eager.labels)) > 1
    monkeypatch.setattr(probability_map, "TILE_WIDTH", 64)
    monkeypatch.setattr(lazy, "PART_SIZE", (128, 64))
    monkeypatch.setattr(windows, "BLOCK_SIDE", 50)
    monkeypatch.setattr(lazy, "load_model", lambda _name: model)
    lazy._load_once.cache_clear()
    for given in (model, model.name):
        labels, confidence = dask.compute(*lazy_segmentation(image, prompts, given, **sizes))
        np.testing.assert_array_equal(labels, eager.labels)
        np.testing.assert_array_equal(confidence, eager.confidence)
    lazy._load_once.cache_clear()


def test_load_model_reads_the_published_files(tensors, version, model, tmp_path, monkeypatch):
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path))
    paths = write_official(tensors, version, tmp_path)
    name = {"dinov2": "dinotxt-vitl14", "dinov3": "dinotxt-dinov3-vitl16"}[version]
    entry = find_model(name)
    assert entry.parts.keys() == paths.keys()
    for part_name, file in entry.parts.items():
        paths[part_name].rename(file.place())
    loaded = load.load_model(name, device="cpu", precision="fp32")
    assert (loaded.name, loaded.patch_size) == (name, model.patch_size)
    assert loaded.windows.window == 384
    assert len(loaded.digest) == 64
    assert loaded.scoring.background == entry.background == "class"


def test_a_gated_file_is_fetched_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        load.load_model("dinotxt-dinov3-vitl16", device="cpu")
    message = str(caught.value)
    assert "accept the DINOv3 licence" in message
    assert "https://github.com/facebookresearch/dinov3" in message
    assert str(tmp_path / "dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth") in message


@pytest.mark.parametrize(
    "change", [{"parts": {}}, {"clip": find_model("maskclip").clip.model_dump()}]
)
def test_an_entry_of_the_catalogue_has_what_its_method_needs(change):
    entry = find_model("dinotxt-vitl14").model_dump()
    with pytest.raises(ValueError, match=r"dinotxt needs the parts .* no clip"):
        ModelEntry.model_validate(entry | change)
