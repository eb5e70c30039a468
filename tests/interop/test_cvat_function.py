"""Masks for words in CVAT, by the classes of its SDK."""

import numpy as np
import pytest
from PIL import Image

from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.export_jobs import decodes, objects

cvat = pytest.importorskip("cvat_sdk.auto_annotation")
pytestmark = [decodes, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Context(cvat.DetectionFunctionContext):
    frame_name = "a.png"
    conf_threshold = None

    def __init__(self, conv_mask_to_poly):
        self._polygons = conv_mask_to_poly

    @property
    def conv_mask_to_poly(self):
        return self._polygons


@pytest.fixture(scope="module")
def image():
    return draw_scene(np.random.default_rng(11), (112, 144))


@pytest.fixture(scope="module")
def function(image):
    from dinoiser.bridges.cvat_function import create

    return create(", ".join(["background", *image.names]), "tiny", "cpu")


def labels_of(image):
    prompts = PromptSet.from_names(["background", *image.names])
    segmenter = Segmenter(load_model("tiny", device="cpu"))
    return objects(segmenter.segment(image.image, prompts).labels)


def test_labels_are_the_words(function, image):
    assert [label.name for label in function.spec.labels] == list(image.names)


def test_masks_are_the_labels(function, image):
    from cvat_sdk.masks import decode_mask

    shapes = function.detect(Context(False), Image.fromarray(image.image))
    drawn = np.zeros(image.image.shape[:2], np.uint8)
    for shape in shapes:
        assert shape.type.value == "mask"
        height, width = drawn.shape
        mask = decode_mask(shape.points, image_width=width, image_height=height)
        drawn[mask] = shape.label_id
    np.testing.assert_array_equal(drawn, labels_of(image))
    assert drawn.any()


def test_polygons_come_where_cvat_asks_for_them(function, image):
    from dinoiser.export.coco_reader import draw_segmentation

    shapes = function.detect(Context(True), Image.fromarray(image.image))
    drawn = np.zeros(image.image.shape[:2], np.uint8)
    for shape in shapes:
        assert shape.type.value == "polygon"
        drawn[draw_segmentation([shape.points], drawn.shape)] = shape.label_id
    np.testing.assert_array_equal(drawn, labels_of(image))
