"""Labels layers, saved by napari as PNG and COCO."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from napari.layers import Labels
from napari.utils.colormaps import direct_colormap
from napari.utils.notifications import notification_manager
from PIL import Image
from pycocotools.coco import COCO

from dinoiser.errors import InputError
from napari_dinoiser.files.writers import name_labels, write_coco, write_png
from napari_dinoiser.label_layers import style_labels
from tests.helpers.export_jobs import PROMPTS, decodes, label_arrays, objects, scene
from tests.helpers.series import cases

pytestmark = decodes


def as_numpy_writes(layer):
    data, meta, _ = layer.as_layer_data_tuple()
    return data, meta


def masks_of(path, capsys):
    """What pycocotools draws of a file: labels by file name, and the categories' names."""
    coco = COCO(str(path))
    capsys.readouterr()
    labels = {}
    for image in coco.dataset["images"]:
        drawn = labels[image["file_name"]] = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.imgToAnns[image["id"]]:
            drawn[coco.annToMask(annotation) > 0] = annotation["category_id"]
    return labels, {item["id"]: item["name"] for item in coco.dataset["categories"]}


def test_png_holds_ids_and_colours_and_its_classes_lie_beside_it(make_napari_viewer, tmp_path):
    layer = make_napari_viewer().add_labels(scene(), **style_labels(PROMPTS))
    written = layer.save(str(tmp_path / "mask.png"), plugin="napari-dinoiser")
    assert written == [str(tmp_path / "mask.png"), str(tmp_path / "mask.classes.json")]
    with Image.open(tmp_path / "mask.png") as mask:
        assert np.array_equal(np.asarray(mask), scene())
        assert mask.getpalette()[3:6] == [0xE6, 0x19, 0x4B]
    classes = json.loads((tmp_path / "mask.classes.json").read_text())
    assert {item["id"]: item["name"] for item in classes} == {
        0: "background",
        1: "dog",
        3: "sky",
        7: "grass",
    }


def test_coco_holds_masks_and_class_names(make_napari_viewer, tmp_path, capsys):
    layer = make_napari_viewer().add_labels(scene(), **style_labels(PROMPTS))
    assert layer.save(str(tmp_path / "a.json"), plugin="napari-dinoiser")
    labels, names = masks_of(tmp_path / "a.json", capsys)
    assert np.array_equal(labels["a.png"], objects(scene()))
    assert names == {1: "dog", 3: "sky", 7: "grass"}


def test_ignored_pixels_that_coco_cannot_hold_are_counted(tmp_path):
    ignored = scene() == 255
    notification_manager.records.clear()
    write_coco(str(tmp_path / "a.json"), np.where(ignored, 0, scene()), style_labels(PROMPTS))
    assert not notification_manager.records
    write_coco(str(tmp_path / "b.json"), scene(), style_labels(PROMPTS))
    (told,) = notification_manager.records
    assert f" {np.count_nonzero(ignored)} " in told.message


def test_the_ending_alone_finds_the_writer_and_other_layers_keep_theirs(
    make_napari_viewer, tmp_path
):
    viewer = make_napari_viewer()
    image = viewer.add_image(np.zeros((8, 9, 3), np.uint8), rgb=True)
    labels = viewer.add_labels(scene())
    image.save(str(tmp_path / "image.png"))
    labels.save(str(tmp_path / "labels.png"))
    labels.save(str(tmp_path / "labels.tif"))
    with Image.open(tmp_path / "image.png") as saved:
        assert saved.mode == "RGB"
    with Image.open(tmp_path / "labels.png") as saved:
        assert saved.mode == "P"
    assert (tmp_path / "labels.tif").is_file()
    assert not (tmp_path / "image.classes.json").exists()


def test_labels_without_names_are_numbered(tmp_path, capsys):
    layer = Labels(scene(), colormap=direct_colormap({None: "red"}))
    write_coco(str(tmp_path / "a.json"), *as_numpy_writes(layer))
    _, names = masks_of(tmp_path / "a.json", capsys)
    assert names == {1: "class 1", 3: "class 3", 7: "class 7"}


def test_a_class_that_was_painted_without_a_name_is_kept_beside_the_others():
    labels = scene()
    labels[20, 20] = 99
    named = name_labels(labels, as_numpy_writes(Labels(labels, **style_labels(PROMPTS)))[1])
    assert {c.id: c.name for c in named.classes if c.id} == {
        1: "dog",
        3: "sky",
        7: "grass",
        99: "class 99",
    }


def test_every_plane_of_a_stack_becomes_a_file(tmp_path):
    stack = np.stack([scene(0), scene(1)])
    write_png(str(tmp_path / "mask.png"), stack, {})
    for number, plane in enumerate(stack):
        with Image.open(tmp_path / f"mask_{number:03d}.png") as mask:
            assert np.array_equal(np.asarray(mask), plane)
    time_lapse = stack[:, np.newaxis]
    names = write_png(str(tmp_path / "t.png"), time_lapse, {})
    assert [name.rpartition("/")[2] for name in names[:-1]] == ["t_000_000.png", "t_001_000.png"]


def test_a_stack_in_coco_keeps_the_names_of_its_images(tmp_path, capsys):
    stack = np.stack([scene(0), scene(1)])
    layer = Labels(stack, metadata={"dinoiser": {"images": ["x/a.jpg", "b.png"]}})
    write_coco(str(tmp_path / "a.json"), *as_numpy_writes(layer))
    labels, _ = masks_of(tmp_path / "a.json", capsys)
    assert np.array_equal(labels["x/a.jpg"], objects(stack[0]))
    assert np.array_equal(labels["b.png"], objects(stack[1]))
    write_coco(str(tmp_path / "b.json"), stack, {})
    assert list(masks_of(tmp_path / "b.json", capsys)[0]) == ["b_000.png", "b_001.png"]


@pytest.mark.parametrize("label", [65_536, 70_000, -1])
@pytest.mark.parametrize("write", [write_png, write_coco])
def test_labels_that_16_bits_cannot_hold_are_refused_and_nothing_is_written(tmp_path, write, label):
    labels = scene().astype(np.int32)
    labels[3, 3] = label
    with pytest.raises(InputError, match=f"{label}.*expected 0 to 65534.*save the layer as TIFF"):
        write(str(tmp_path / "mask"), labels, {})
    assert not list(tmp_path.iterdir())


@cases(40)
@given(labels=label_arrays())
def test_png_and_back_changes_nothing(labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "mask.png"
    write_png(str(path), labels.astype(np.int64), {})
    with Image.open(path) as mask:
        assert np.array_equal(np.asarray(mask), labels)


@cases(40)
@given(
    labels=hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 255)
    )
)
def test_coco_and_back_changes_nothing_but_ignored_pixels(labels, tmp_path_factory):
    from dinoiser.export.coco_reader import CocoReader

    path = tmp_path_factory.mktemp("coco") / "a.json"
    write_coco(str(path), labels, {})
    assert np.array_equal(CocoReader(path).draw_labels("a.png"), objects(labels))
