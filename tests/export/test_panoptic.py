"""Panoptic files, read as panopticapi does: id = R + 256 G + 256 ** 2 B."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinoiser.errors import InputError
from dinoiser.export import ExportOptions, PanopticWriter, build_panoptic, write_panoptic_png
from tests.helpers.export_jobs import PROMPTS, label_arrays, objects, scene
from tests.helpers.series import cases


def read_ids(path):
    with Image.open(path) as image:
        assert image.mode == "RGB"
        colors = np.asarray(image).astype(np.int64)
    return colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2]


@cases(60)
@given(labels=label_arrays(), instances=st.booleans())
def test_segments_say_what_the_image_holds(labels, instances, tmp_path_factory):
    path = tmp_path_factory.mktemp("panoptic") / "a.png"
    ids, segments = build_panoptic(labels, PROMPTS, ExportOptions(instances=instances))
    write_panoptic_png(ids, path)
    read = read_ids(path)
    assert sorted(s["id"] for s in segments) == sorted(set(np.unique(read)) - {0})
    composed = np.zeros(labels.shape, np.uint8)
    for segment in segments:
        inside = read == segment["id"]
        rows, columns = np.nonzero(inside)
        x, y, width, height = segment["bbox"]
        assert segment["area"] == inside.sum()
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
        composed[inside] = segment["category_id"]
    np.testing.assert_array_equal(composed, objects(labels))


def test_ids_of_three_bytes_come_back(tmp_path):
    ids = np.array([[0, 255, 256], [65535, 65536, 2**24 - 1]])
    write_panoptic_png(ids, tmp_path / "a.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "a.png"), ids)


def test_small_segments_become_void():
    ids, segments = build_panoptic(
        scene(), PROMPTS, ExportOptions(instances=True, min_area=80, split=0)
    )
    assert sorted(s["area"] for s in segments) == [80, 120, 460]
    assert (ids > 0).sum() == 80 + 120 + 460
    assert (ids[scene() == 3] == 0).all()


@pytest.mark.parametrize(("instances", "segments"), [(False, 3), (True, 5)])
def test_the_file_links_images_segments_and_categories(instances, segments, tmp_path):
    options = ExportOptions(instances=instances, split=0)
    ids, found = build_panoptic(scene(), PROMPTS, options)
    with PanopticWriter(tmp_path / "panoptic.json", PROMPTS, options) as panoptic:
        panoptic.add("a/b.jpg", ids.shape, "a/b.png", found)
    document = json.loads((tmp_path / "panoptic.json").read_text())
    (image,), (annotation,) = document["images"], document["annotations"]
    assert (image["file_name"], image["width"], image["height"]) == ("a/b.jpg", 60, 40)
    assert annotation["image_id"] == image["id"]
    assert annotation["file_name"] == "a/b.png"
    assert len(annotation["segments_info"]) == segments
    assert [(c["id"], c["name"], c["isthing"]) for c in document["categories"]] == [
        (1, "dog", instances),
        (3, "sky", instances),
        (7, "grass", instances),
    ]
    assert document["categories"][0]["color"] == [0xE6, 0x19, 0x4B]


def test_a_class_that_is_not_in_the_prompts_is_refused():
    with pytest.raises(InputError, match=r"\[9\]"):
        build_panoptic(np.full((2, 2), 9, np.uint8), PROMPTS)
