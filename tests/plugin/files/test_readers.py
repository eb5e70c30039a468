"""Job folders and COCO files, opened by napari."""

import json

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from PIL import Image
from qtpy.QtWidgets import QLineEdit

from dinoiser.batch import export
from dinoiser.errors import InputError
from dinoiser.export import ExportOptions
from napari_dinoiser.files import readers
from napari_dinoiser.files.readers import get_reader
from tests.helpers.drawn_images import draw_images
from tests.helpers.export_jobs import PROMPTS, decodes, make_job, objects, scene

pytestmark = decodes
PLUGIN = "napari-dinoiser"


def finished_job(folder, labels_by_name):
    output = make_job(folder, labels_by_name)
    (output / "job.yaml").write_text("version: 1\n")
    return output


def write_coco(path, **lists):
    empty = {"images": [], "annotations": [], "categories": []}
    path.write_text(json.dumps(empty | lists))
    return path


def polygon_file(path, categories, category_id):
    """A file as other programs write it: one square as a polygon."""
    square = [[2, 1, 6, 1, 6, 4, 2, 4]]
    return write_coco(
        path,
        images=[{"id": 5, "file_name": "a.png", "height": 8, "width": 10}],
        annotations=[
            {"id": 1, "image_id": 5, "category_id": category_id, "segmentation": square, "area": 12}
        ],
        categories=[{"id": id_, "name": name} for id_, name in categories.items()],
    )


def names_of(layer):
    return dict(zip(layer.features["index"], layer.features["class"], strict=True))


def test_a_job_of_one_size_opens_as_a_stack(make_napari_viewer, tmp_path):
    labels = {"a/x.png": scene(0), "b.png": scene(1), "c.png": scene(2)}
    output = finished_job(tmp_path, labels)
    viewer = make_napari_viewer()
    image, opened = viewer.open(str(output), plugin=PLUGIN)
    assert image.rgb
    assert np.array_equal(np.asarray(image.data), np.full((3, 40, 60, 3), 128, np.uint8))
    assert np.array_equal(np.asarray(opened.data), np.stack(list(labels.values())))
    assert opened.metadata["dinoiser"]["images"] == ["a/x.png", "b.png", "c.png"]
    assert names_of(opened) == {0: "background", 1: "dog", 7: "grass", 3: "sky", 255: "ignore"}
    assert np.allclose(opened.get_color(1)[:3], np.array([0xE6, 0x19, 0x4B]) / 255, atol=0.01)


def test_job_yaml_opens_the_job_without_asking_which_plugin(make_napari_viewer, tmp_path):
    output = finished_job(tmp_path, {"a.png": scene(0)})
    image, opened = make_napari_viewer().open(str(output / "job.yaml"), plugin=None)
    assert (image.name, opened.name) == ("a.png", "a.png labels")
    assert np.array_equal(opened.data, scene(0))


def test_images_of_several_sizes_get_layers_of_their_own(make_napari_viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MOST_PAIRS", 2)
    notification_manager.records.clear()
    labels = {name: scene(size=(40, 60 + i)) for i, name in enumerate(["a.png", "b.png", "c.png"])}
    opened = make_napari_viewer().open(str(finished_job(tmp_path, labels)), plugin=PLUGIN)
    assert [layer.name for layer in opened] == ["a.png", "a.png labels", "b.png", "b.png labels"]
    assert np.array_equal(opened[3].data, labels["b.png"])
    assert "first 2 of 3 images" in notification_manager.records[-1].message


def test_a_mask_can_be_painted_after_it_is_opened(make_napari_viewer, tmp_path):
    output = finished_job(tmp_path, {"a.png": scene(0)})
    _, opened = make_napari_viewer().open(str(output), plugin=PLUGIN)
    opened.brush_size = 3
    opened.paint((20, 50), 3)
    assert opened.data[20, 50] == 3


@pytest.mark.parametrize("options", [ExportOptions(), ExportOptions(polygons=True, instances=True)])
def test_our_coco_file_opens_as_the_masks_it_was_made_of(make_napari_viewer, tmp_path, options):
    labels = {"a/x.png": scene(0), "b.png": scene(1)}
    output = finished_job(tmp_path, labels)
    export(output, ["coco"], options)
    image, opened = make_napari_viewer().open(str(output / "annotations.json"), plugin=None)
    assert image.data.shape == (2, 40, 60, 3)
    expected = np.stack([objects(mask) for mask in labels.values()])
    if options.polygons:  # they cannot hold the hole in the dog: what lies in it is drawn over it
        assert np.mean(np.asarray(opened.data) == expected) > 0.95
    else:
        assert np.array_equal(np.asarray(opened.data), expected)
    assert names_of(opened)[7] == "grass"


@pytest.mark.parametrize("place", ["a.png", "images/a.png", "../images/a.png"])
def test_images_are_found_near_a_coco_file(make_napari_viewer, tmp_path, place):
    folder = tmp_path / "annotations"
    image = folder / place
    folder.mkdir()
    image.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((8, 10, 3), 77, np.uint8)).save(image)
    path = polygon_file(folder / "instances.json", {3: "cat"}, 3)
    image, opened = make_napari_viewer().open(str(path), plugin=None)
    assert np.array_equal(image.data, np.full((8, 10, 3), 77))
    expected = np.zeros((8, 10))
    expected[1:4, 2:6] = 3
    assert np.array_equal(opened.data, expected)


def test_without_its_images_a_coco_file_opens_as_labels(make_napari_viewer, tmp_path):
    notification_manager.records.clear()
    path = polygon_file(tmp_path / "instances.json", {3: "cat"}, 3)
    (opened,) = make_napari_viewer().open(str(path), plugin=None)
    assert set(np.unique(opened.data)) == {0, 3}
    assert "1 of 1 images were not found: a.png" in notification_manager.records[-1].message


def test_categories_from_0_are_raised_by_one(make_napari_viewer, tmp_path):
    path = polygon_file(tmp_path / "instances.json", {0: "cat", 1: "dog"}, 0)
    (opened,) = make_napari_viewer().open(str(path), plugin=None)
    assert opened.data[2, 3] == 1
    assert {1: "cat", 2: "dog"}.items() <= names_of(opened).items()


def test_categories_above_254_keep_their_ids(make_napari_viewer, tmp_path):
    path = polygon_file(tmp_path / "instances.json", {1203: "cat"}, 1203)
    (opened,) = make_napari_viewer().open(str(path), plugin=None)
    assert opened.data[2, 3] == 1203
    assert names_of(opened)[1203] == "cat"


def test_what_is_not_ours_is_left_to_others(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "map.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "map.json").write_text('{"type": "FeatureCollection", "features": []}')
    paths = [tmp_path / name for name in ("images", "map.geojson", "map.json", "missing.json")]
    assert [get_reader(str(path)) for path in paths] == [None] * 4
    assert get_reader([str(tmp_path / "map.json")]) is None


def test_a_folder_of_images_is_offered_to_be_labelled(make_napari_viewer, tmp_path):
    draw_images(tmp_path / "photos" / "more", 2)
    assert get_reader(str(tmp_path / "photos")) is None, "without a window, others may read it"
    viewer = make_napari_viewer()
    assert viewer.open(str(tmp_path / "photos"), plugin=PLUGIN) == []
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "DINOiser")
    assert panel.tabs.tabText(panel.tabs.currentIndex()) == "Folder"
    chosen = panel.findChild(QLineEdit, "input_folder").text()
    assert chosen == str(tmp_path / "photos")


@pytest.mark.parametrize(
    ("lists", "reason"),
    [
        (
            {"images": "none"},
            "which has the lists images, annotations, categories",
        ),
        ({"images": [{"id": 1, "file_name": "a.png"}]}, "an entry of its images has no 'height'"),
        ({}, "lists no images"),
    ],
)
def test_a_coco_file_that_is_wrong_is_refused_in_a_sentence(tmp_path, lists, reason):
    path = write_coco(tmp_path / "a.json", **lists)
    with pytest.raises(InputError, match=reason):
        get_reader(str(path))(str(path))


def test_classes_survive_opening(make_napari_viewer, tmp_path):
    from napari_dinoiser.label_layers import prompts_of_layer

    output = finished_job(tmp_path, {"a.png": scene(0)})
    _, opened = make_napari_viewer().open(str(output), plugin=PLUGIN)
    assert prompts_of_layer(opened.metadata, opened.features) == PROMPTS
