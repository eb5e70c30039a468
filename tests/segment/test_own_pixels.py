"""A model that turns patches into pixels by itself, as a learnt upsampler would."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dinoiser.batch import run
from dinoiser.batch.large_images import label_large_tiff
from dinoiser.errors import SettingsError
from dinoiser.export import read_mask
from dinoiser.images import read_image
from dinoiser.models.base import SegmentationModel
from dinoiser.models.load import load_model
from dinoiser.segment.in_parts.lazy import segment_array
from dinoiser.segment.objects import object_at
from dinoiser.segment.probability_map import ProbabilityMap
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.job_driver import draw_folder, job_of


def squares(patches, image):
    """Squares of the patches of a single window; white pixels belong to the last class."""
    pixels = F.interpolate(patches.mosaic[None], image.shape[:2], mode="nearest")[0]
    white = torch.from_numpy(image.min(2) == 255)
    pixels[:, white] = 0
    pixels[-1, white] = 1
    return ProbabilityMap.of_pixels(pixels, patches.layout)


@pytest.fixture
def upsampling(tiny):
    model = copy.copy(tiny)
    model.to_pixels = squares
    return model


@pytest.fixture
def image(scene):
    image = scene.image.copy()
    image[:20, :30] = 255
    return image


def test_its_pixels_are_labels_confidence_and_heat_maps(upsampling, image, scene_prompts):
    result = Segmenter(upsampling, whole=True).segment(image, scene_prompts)
    names, size = scene_prompts.names, image.shape[:2]
    heat = np.stack([result.probabilities(name) for name in names])
    ids = np.array([c.id for c in scene_prompts.classes])
    np.testing.assert_array_equal(result.labels, ids[heat.argmax(0)])
    np.testing.assert_array_equal(result.confidence, heat.max(0).astype(np.float16))
    assert set(np.unique(result.labels[:20, :30])) == {ids[-1]}
    patches = result.labels[24:].reshape(size[0] // 8 - 3, 8, size[1] // 8, 8)
    assert (patches == patches[:, :1, :, :1]).all()
    assert result.ranking(5, 5)[0] == (names[-1], 1.0)


def test_other_words_need_no_new_features(upsampling, image, scene_prompts):
    segmenter = Segmenter(upsampling, whole=True)
    encoded, direct = segmenter.encode(image), segmenter.segment(image, scene_prompts)
    np.testing.assert_array_equal(encoded.segment(scene_prompts).labels, direct.labels)


def test_objects_are_cut_out_by_it(upsampling, image):
    found = object_at(Segmenter(upsampling, whole=True).encode(image), 100, 120)
    assert found[100, 120]
    assert not found.all()
    patches = found.reshape(image.shape[0] // 8, 8, image.shape[1] // 8, 8)
    assert (patches == patches[:, :1, :, :1]).all()


def test_it_is_left_out_where_the_pixels_of_the_paper_are_asked_for(
    upsampling, tiny, image, scene_prompts
):
    own, plain = (
        Segmenter(model, refine="none").segment(image, scene_prompts).labels
        for model in (upsampling, tiny)
    )
    np.testing.assert_array_equal(own, plain)


def test_a_folder_is_labelled_by_it(scene_prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(SegmentationModel, "to_pixels", staticmethod(squares))
    images, output = draw_folder(tmp_path / "images", 2), tmp_path / "out"
    run(job_of((images,), output, scene_prompts, scheduler="sync", precision="fp32"))
    segmenter = Segmenter(load_model("tiny", "cpu", "fp32"))
    for image in images.iterdir():
        expected = segmenter.segment(read_image(image), scene_prompts).labels
        np.testing.assert_array_equal(read_mask(output / f"masks/{image.stem}.png"), expected)


def test_in_parts_it_is_refused_before_anything_is_computed(upsampling, scene_prompts, tmp_path):
    expected = r"model tiny refines an image as a whole.*use refine='none'"
    with pytest.raises(SettingsError, match=expected):
        segment_array(np.zeros((50, 60, 3), np.uint8), scene_prompts, upsampling)
    with pytest.raises(SettingsError, match=expected):
        label_large_tiff(
            tmp_path / "any.tif", scene_prompts, Segmenter(upsampling).pipeline, tmp_path / "mask"
        )
