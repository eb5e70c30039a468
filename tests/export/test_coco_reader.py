"""COCO files read back: as other programs write them, and damaged ones."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.errors import InputError
from dinoiser.export import CocoWriter, ExportOptions, build_annotations
from dinoiser.export.coco_reader import CocoReader, is_coco
from tests.helpers.export_jobs import PROMPTS, decodes, label_arrays, objects
from tests.helpers.series import cases

pytestmark = decodes
CAT = {"id": 3, "name": "cat"}
IMAGE = {"id": 5, "file_name": "a.png", "height": 4, "width": 6}
SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]
"""Rows 1 to 2 and columns 1 to 2."""


def write(path, segmentation=SQUARE, images=(IMAGE,), categories=(CAT,), **annotation):
    annotation = {"image_id": 5, "category_id": 3, "segmentation": segmentation} | annotation
    lists = {"images": images, "annotations": [annotation], "categories": categories}
    path.write_text(json.dumps(lists))
    return path


@pytest.fixture
def place(tmp_path):
    return tmp_path / "instances.json"


@cases(40)
@given(labels=label_arrays(), instances=st.booleans())
def test_what_was_written_is_read_back(labels, instances, tmp_path_factory):
    path = tmp_path_factory.mktemp("coco") / "annotations.json"
    options = ExportOptions(instances=instances)
    with CocoWriter(path, PROMPTS) as coco:
        coco.add("a/b.jpg", labels.shape, build_annotations(labels, "a/b.jpg", PROMPTS, options))
    read = CocoReader(path)
    assert read.sizes == {"a/b.jpg": labels.shape}
    assert read.names == {item.id: item.name for item in PROMPTS.classes if not item.background}
    np.testing.assert_array_equal(read.draw_labels("a/b.jpg"), objects(labels))


@pytest.mark.parametrize(
    "segmentation",
    [
        SQUARE,
        [*SQUARE, [0, 0, 1, 1]],  # a line beside it
        {"size": [4, 6], "counts": [5, 2, 2, 2, 13]},
        {"size": [4, 6], "counts": "5220;"},
    ],
    ids=["polygon", "line", "run lengths", "packed"],
)
def test_every_form_of_an_area_is_drawn(place, segmentation):
    expected = np.zeros((4, 6), np.uint8)
    expected[1:3, 1:3] = 3
    drawn = CocoReader(write(place, segmentation)).draw_labels("a.png")
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.dtype == np.uint8


@pytest.mark.parametrize("segmentation", [None, [], [[1, 1, 2, 2]]])
def test_a_box_alone_is_left_out(place, segmentation):
    assert not CocoReader(write(place, segmentation)).draw_labels("a.png").any()


def test_labels_begin_at_1_where_categories_begin_at_0(place):
    path = write(place, categories=[{"id": 0, "name": "cat"}, CAT], category_id=0)
    read = CocoReader(path)
    assert read.names == {1: "cat", 4: "cat"}
    assert read.draw_labels("a.png").max() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": 3}, "which has the lists images, annotations, categories"),
        ({"images": [{"id": 1}]}, "an entry of its images has no 'file_name'"),
        ({"images": [IMAGE | {"width": 0}]}, "in its images, the width 0 is wrong .*than 0"),
        ({"images": ["a.png"]}, "in its images, the entry 'a.png' is wrong"),
        ({"categories": [{"id": "x", "name": "cat"}]}, "in its categories, the id 'x' is wrong"),
        ({"category_id": None}, "in its annotations, the category_id None is wrong"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_when_it_is_opened(place, changes, reason):
    with pytest.raises(InputError, match=f"instances.json is not a COCO file.*{reason}"):
        CocoReader(write(place, **changes))


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff\xd8\xff"])
def test_other_files_are_told_apart(place, content):
    place.write_bytes(content)
    assert not is_coco(place)
    with pytest.raises(InputError, match="which has the lists images, annotations, categories"):
        CocoReader(place)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [6, 4], "counts": [24]},
        {"size": [4, 6], "counts": [5, 2]},
        {"size": [4, 6], "counts": [5, -2, 21]},
        {"size": [4, 6], "counts": "zzzz"},
        {"size": [4, 6]},
        [1, 1, 3, 1, 3, 3],
        [[1, 1, 3, 1, 3, "x"]],
        [[1, 1, 3, 1, 3, 1e12]],
        [[1, 1, 3, 1, 3, float("nan")]],
        [[x for i in range(40) for x in (9e5 * (-1) ** i, i)]],
        {"size": [4, 6], "counts": [10**30]},
        {"size": [4, 10**30], "counts": [0]},
    ],
)
def test_an_area_that_cannot_be_drawn_is_said_so(place, segmentation):
    path = write(place, segmentation)
    with pytest.raises(InputError, match=r"annotation of a\.png .* an image of 6x4 pixels"):
        CocoReader(path).draw_labels("a.png")


def test_an_annotation_of_no_category_is_said_so(place):
    path = write(place, category_id=300)
    with pytest.raises(InputError, match="category_id 300, which is not among its categories"):
        CocoReader(path).draw_labels("a.png")


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31, 2**31), (10**30, 1)])
def test_an_image_beyond_the_pixel_limit_is_refused_before_memory_is_taken(place, size):
    path = write(place, images=[IMAGE | dict(zip(("height", "width"), size, strict=True))])
    with pytest.raises(InputError, match=r"instances\.json, a\.png: .* the limit is 536,870,912"):
        CocoReader(path).draw_labels("a.png")


def test_deep_nesting_is_refused(place):
    place.write_text('{"images": ' + "[" * 100_000)
    with pytest.raises(InputError, match="is not a COCO file"):
        CocoReader(place)


ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.sampled_from([255, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**400]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([[], {}, [[]], [4, 6], [10**5, 10**5], [24], [[9e5, -9e5] * 2000]]),
)


def places(node):
    """Every (container, key) within JSON values."""
    keys = node if isinstance(node, dict) else range(len(node) if isinstance(node, list) else 0)
    for key in keys:
        yield node, key
        yield from places(node[key])


def read_all(path):
    """Draw all images of a file, unless it is refused."""
    with suppress(InputError):
        reader = CocoReader(path)
        for name in reader.sizes:
            reader.draw_labels(name)


def valid_file():
    areas = [
        SQUARE,
        {"size": [4, 6], "counts": [5, 2, 2, 2, 13]},
        {"size": [4, 6], "counts": "5220;"},
    ]
    annotations = [
        {"image_id": 5, "category_id": 3, "area": 4.0, "segmentation": area} for area in areas
    ]
    return {"images": [IMAGE], "annotations": annotations, "categories": [CAT]}


@cases(100)
@given(data=st.data())
def test_a_file_with_other_values_is_read_or_refused(data, tmp_path_factory):
    document = json.loads(json.dumps(valid_file()))
    for _ in range(data.draw(st.integers(1, 3))):
        node, key = data.draw(st.sampled_from(list(places(document))))
        node[key] = json.loads(json.dumps(data.draw(ODD_VALUES)))
    path = tmp_path_factory.getbasetemp() / "mutated.json"
    path.write_text(json.dumps(document))
    read_all(path)


@cases(100)
@given(data=st.data())
def test_a_file_with_other_bytes_is_read_or_refused(data, tmp_path_factory):
    content = bytearray(json.dumps(valid_file()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.integers(0, 12))
        content[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"9" * 9, b"[", b"}"])
        )
    path = tmp_path_factory.getbasetemp() / "mutated.json"
    path.write_bytes(content)
    read_all(path)
