"""COCO files, read by pycocotools and supervision."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO

from dinoiser.errors import InputError, SettingsError
from dinoiser.export import CocoWriter, ExportOptions, build_annotations
from dinoiser.export.options import DEFAULTS
from tests.helpers.export_jobs import (
    IDS,
    PROMPTS,
    decodes,
    label_arrays,
    objects,
    scene,
    supervision,
)
from tests.helpers.series import cases

pytestmark = decodes


def write(path, labels_by_name, options=DEFAULTS):
    with CocoWriter(path, PROMPTS) as coco:
        for name, labels in labels_by_name.items():
            coco.add(name, labels.shape, build_annotations(labels, name, PROMPTS, options))
    return COCO(path)


def compose(coco, image_id, shape):
    """Paint an image's annotations; none may lie over another."""
    labels = np.zeros(shape, np.uint8)
    for annotation in coco.loadAnns(coco.getAnnIds(image_id)):
        inside = coco.annToMask(annotation).astype(bool)
        assert not labels[inside].any()
        labels[inside] = annotation["category_id"]
    return labels


@cases(60)
@given(labels=label_arrays(), polygons=st.booleans(), instances=st.booleans())
def test_pycocotools_reads_back_every_pixel(labels, polygons, instances, tmp_path_factory):
    path = tmp_path_factory.mktemp("coco") / "annotations.json"
    coco = write(path, {"a.png": labels}, ExportOptions(polygons, instances))
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["height"], image["width"]) == labels.shape
    np.testing.assert_array_equal(compose(coco, image["id"], labels.shape), objects(labels))
    for annotation in coco.loadAnns(coco.getAnnIds()):
        rle = coco.annToRLE(annotation)
        assert annotation["area"] == mask.area(rle)
        assert annotation["bbox"] == mask.toBbox(rle).tolist()
        assert annotation["iscrowd"] == 0
        assert isinstance(annotation["segmentation"], list if polygons else dict)


@cases(60)
@given(labels=label_arrays())
def test_run_lengths_are_those_that_pycocotools_makes(labels):
    annotations = list(build_annotations(labels, "a.png", PROMPTS))
    assert [a["category_id"] for a in annotations] == list(np.unique(labels[objects(labels) > 0]))
    for annotation in annotations:
        inside = np.asfortranarray(labels == annotation["category_id"], np.uint8)
        expected = mask.encode(inside)
        assert annotation["segmentation"]["counts"].encode() == expected["counts"]
        assert annotation["segmentation"]["size"] == expected["size"]


def test_supervision_reads_masks_classes_and_names(tmp_path):
    labels = scene()
    Image.fromarray(labels).save(tmp_path / "a.png")
    write(tmp_path / "annotations.json", {"a.png": labels})
    dataset = supervision.DetectionDataset.from_coco(
        str(tmp_path), str(tmp_path / "annotations.json"), force_masks=True
    )
    assert dataset.classes == ["dog", "sky", "grass"]
    ((_, _, detections),) = dataset
    for class_index, inside in zip(detections.class_id, detections.mask, strict=True):
        np.testing.assert_array_equal(inside, labels == IDS[class_index])


def test_categories_are_the_classes_under_their_ids_without_the_background(tmp_path):
    coco = write(tmp_path / "annotations.json", {})
    assert [(c["id"], c["name"]) for c in coco.loadCats(coco.getCatIds())] == [
        (1, "dog"),
        (3, "sky"),
        (7, "grass"),
    ]


def test_nothing_is_invented(tmp_path):
    write(tmp_path / "annotations.json", {"a.png": scene()})
    document = json.loads((tmp_path / "annotations.json").read_text("ascii"))
    assert document["licenses"] == []
    assert sorted(document["info"]) == ["description", "version"]
    assert sorted(document["images"][0]) == ["file_name", "height", "id", "width"]


def test_by_default_a_class_has_one_annotation_with_all_its_parts_and_holes():
    areas = {a["category_id"]: a["area"] for a in build_annotations(scene(), "a.png", PROMPTS)}
    assert areas == {1: 20 * 26 - 6 * 10 + 4, 3: 6 * 10 - 4, 7: 8 * 10 + 8 * 15}


def test_instances_are_parts_that_touch_by_sides_and_not_by_corners():
    labels = np.zeros((4, 6), np.uint8)
    labels[0, 0] = labels[1, 1] = labels[1, 2] = 1
    labels[0, 4:] = 7
    found = build_annotations(labels, "a.png", PROMPTS, ExportOptions(instances=True, split=0))
    assert [(a["category_id"], a["bbox"]) for a in found] == [
        (1, [0, 0, 1, 1]),
        (1, [1, 1, 2, 1]),
        (7, [4, 0, 2, 1]),
    ]


@pytest.mark.parametrize("polygons", [False, True])
def test_small_annotations_are_left_out_and_the_others_keep_their_ids(polygons):
    whole = build_annotations(scene(), "a.png", PROMPTS, ExportOptions(polygons, True, split=0))
    large = build_annotations(scene(), "a.png", PROMPTS, ExportOptions(polygons, True, 80, split=0))
    assert sorted(a["area"] for a in whole) == [4, 56, 80, 120, 460]
    assert large == [a for a in whole if a["area"] >= 80]
    by_class = build_annotations(scene(), "a.png", PROMPTS, ExportOptions(polygons, False, 57))
    assert [a["category_id"] for a in by_class] == [1, 7]


@pytest.mark.parametrize("min_area", [-1, 2.5, True])
def test_a_least_area_that_is_none_is_refused(min_area):
    with pytest.raises(SettingsError, match="min_area is"):
        ExportOptions(min_area=min_area)


def test_ids_do_not_change_when_images_are_added(tmp_path):
    names = [f"{i}.png" for i in range(20)]
    everything = {name: scene(i % 4) for i, name in enumerate(names)}
    few = {name: everything[name] for name in names[5:8]}
    options = ExportOptions(instances=True, split=0)
    small = write(tmp_path / "few.json", few, options)
    large = write(tmp_path / "all.json", everything, options)
    assert len(large.imgs) == 20
    assert len(large.anns) == 20 * 5
    assert max(*large.anns, *large.imgs) < 2**53
    assert small.imgs.items() <= large.imgs.items()
    assert all(large.anns[key] == annotation for key, annotation in small.anns.items())


def test_names_of_any_script_and_folders_come_back(tmp_path):
    names = ["ça/été 1.jpg", "犬/'\"\\.png"]
    coco = write(tmp_path / "annotations.json", {name: scene() for name in names})
    assert sorted(image["file_name"] for image in coco.imgs.values()) == sorted(names)


def test_a_class_that_is_not_in_the_prompts_is_refused():
    labels = np.full((2, 2), 9, np.uint8)
    with pytest.raises(InputError, match=r"\[9\].*1 \(dog\)"):
        build_annotations(labels, "a.png", PROMPTS)


def test_memory_does_not_grow_with_the_images(tmp_path):
    annotations = build_annotations(scene(), "a.png", PROMPTS)

    def peak(images):
        tracemalloc.start()
        try:
            with CocoWriter(tmp_path / "annotations.json", PROMPTS) as coco:
                for i in range(images):
                    coco.add(f"{i}.png", (40, 60), annotations)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    few = peak(200)
    assert peak(2000) < 1.5 * few
    assert len(COCO(tmp_path / "annotations.json").imgs) == 2000


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text("earlier")

    def fail():
        with CocoWriter(path, PROMPTS) as coco:
            coco.add("a.png", (40, 60), build_annotations(scene(), "a.png", PROMPTS))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]
