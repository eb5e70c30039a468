"""A box drawn with the mouse, inside which alone the words compete."""

import numpy as np
import pytest
from napari.components import Dims
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from dinoiser.prompts import PromptSet
from tests.helpers.segment_driver import add_class, click, layer_of, remove_class


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


def drag(viewer, *places):
    """Hold the left button down along places in the image."""
    canvas = viewer.window._qt_viewer.canvas.native
    camera = getattr(viewer, "scene", viewer).camera
    middle = np.array((canvas.height(), canvas.width())) / 2
    at = [QPoint(*(middle + (np.array(place) - camera.center[-2:]) * camera.zoom)[::-1].astype(int))
          for place in places]  # fmt: skip
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=at[0])
    for point in at[1:]:
        QTest.mouseMove(canvas, point)
        QTest.qWait(20)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=at[-1])


@pytest.fixture
def boxed(labelled, viewer, finish, qtbot):
    """A labelled image with a box drawn on it."""
    layer_of(viewer).mode = "paint"
    click(labelled, qtbot, "box")
    drag(viewer, (20, 30), (70, 90), (120, 150))
    qtbot.waitUntil(lambda: labelled.runner.request is not None, timeout=2000)
    finish()
    return labelled


BOX = slice(20, 120), slice(30, 150)


def test_in_a_box_the_words_compete_alone_and_all_else_stays(boxed, viewer, scene_prompts, finish):
    layer = layer_of(viewer)
    assert viewer.layers.selection.active is layer
    assert layer.mode == "paint", "the brush is back in the hand"
    before = layer.data.copy()
    words = PromptSet(scene_prompts.classes[1:3])  # no background, and a class less
    boxed.table.set_prompt_set(words)
    finish()
    after = layer.data.copy()
    assert np.isin(after[BOX], [item.id for item in words.classes]).all()
    after[BOX] = before[BOX] = 0
    np.testing.assert_array_equal(after, before)
    for label in np.unique(before):  # what is outside keeps its name and its colour
        if label:
            assert layer.colormap.map(label)[3] == 1
            assert label in layer.features["index"].tolist()


def test_without_the_box_the_words_reach_all_of_the_image(
    boxed, viewer, scene_prompts, finish, looks, qtbot
):
    words = PromptSet(scene_prompts.classes[1:3])
    boxed.table.set_prompt_set(words)
    finish()
    click(boxed, qtbot, "box")
    finish()
    layer = layer_of(viewer)
    assert np.isin(layer.data, [item.id for item in words.classes]).all()
    assert [layer.name for layer in viewer.layers] == ["scene", "labels of scene"]
    assert looks == [], "no new look at the image"


def test_a_class_added_right_after_another_was_removed_does_not_get_what_lies_outside(
    boxed, viewer, scene, finish, qtbot
):
    layer = layer_of(viewer)
    outside = np.ones(layer.data.shape, bool)
    outside[BOX] = False
    labels, counts = np.unique(layer.data[outside & (layer.data > 0)], return_counts=True)
    label = int(labels[counts.argmax()])
    of_class = outside & (layer.data == label)
    row = next(i for i, row in enumerate(boxed.table.rows()) if row.id == label)
    name = boxed.table.rows()[row].name
    remove_class(boxed, qtbot, row)
    add_class(boxed, "green heart")
    finish()
    assert (layer.data[of_class] == label).all()
    named = dict(zip(layer.features["index"], layer.features["class"], strict=True))
    assert named[label] == name


@pytest.mark.skipif(
    "units" not in Dims.model_fields, reason="before napari 0.9, a viewer has no units"
)
def test_the_box_is_where_it_was_drawn_among_layers_of_different_units(
    segment, viewer, scene, scene_prompts, finish, qtbot
):
    fine = {"scale": (1000, 1000), "units": ("nm", "nm")}
    viewer.add_image(scene.image, name="fine", **fine)
    image = viewer.add_image(scene.image, name="coarse", units=("um", "um"))
    segment.table.set_prompt_set(scene_prompts)
    click(segment, qtbot, "box")
    assert viewer.dims.units is not None
    corners = np.array([[20, 30], [120, 150]]) * 1000.0  # nm are the viewer's units
    box = segment.box.layer
    box.add_rectangles(corners)
    assert segment.picker.layer() is image
    segment._run_in_box()
    finish()
    rows, columns = segment._labelled().session.parts(())[0].part.rectangle
    assert (rows, columns) == BOX
