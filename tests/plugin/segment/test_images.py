"""The Segment tab on image layers of every kind."""

import dask.array as da
import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QLabel, QRadioButton, QSpinBox

from dinoiser.prompts import PromptSet
from tests.helpers.segment_driver import child, click, layer_of, maps_in_view, mean_iou


def test_labels_lie_exactly_over_a_scaled_and_shifted_image(
    segment, viewer, scene, scene_prompts, finish
):
    image = viewer.add_image(scene.image, scale=(0.5, 3), translate=(-20, 7), rotate=30)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    layer = layer_of(viewer)
    for point in ((0, 0), (223, 287), (100, 33)):
        np.testing.assert_allclose(layer.data_to_world(point), image.data_to_world(point))


def grey(image):
    return image.astype(np.float32).mean(-1)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda image: np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]), {}),
        (lambda image: image.astype(np.float32) / 255, {"rgb": True}),
        (lambda image: image.astype(np.uint16) * 200, {"rgb": True}),
        (lambda image: [image, image[::2, ::2]], {"rgb": True, "multiscale": True}),
        (lambda image: da.from_array(image, chunks=(50, 60, 3)), {"rgb": True}),
    ],
    ids=["rgba", "float", "uint16", "multiscale", "dask"],
)
def test_colour_images_of_every_kind(segment, viewer, scene, scene_prompts, finish, make, options):
    viewer.add_image(make(scene.image), **options)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    assert mean_iou(layer_of(viewer).data, scene, list(scene_prompts.names)) > 0.75


def test_channels_can_be_chosen(segment, viewer, scene, scene_prompts, finish):
    planes = np.moveaxis(scene.image, -1, 0)[::-1].astype(np.uint16) * 100  # blue, green, red
    viewer.add_image(np.stack([*planes, np.zeros_like(planes[0])]), contrast_limits=(0, 25500))
    axis = child(segment, QComboBox, "channel_axis")
    axis.setCurrentIndex(axis.findText("axis 0 (4)"))
    for name, number in (("red", 2), ("green", 1), ("blue", 0)):
        child(segment, QSpinBox, f"{name}_channel").setValue(number)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    layer = layer_of(viewer)
    assert layer.data.shape == scene.labels.shape
    assert mean_iou(layer.data, scene, list(scene_prompts.names)) > 0.8


def test_labels_of_channels_amid_a_stack_are_seen_where_the_image_is(
    segment, viewer, scene, scene_prompts, finish, qtbot
):
    series = np.moveaxis(np.stack([scene.image, scene.image[::-1]] * 2), -1, 1)  # t, c, y, x
    image = viewer.add_image(series, scale=(2, 1, 0.5, 0.5), contrast_limits=(0, 255))
    axis = child(segment, QComboBox, "channel_axis")
    axis.setCurrentIndex(axis.findText("axis 1 (3)"))
    viewer.dims.set_current_step(0, 3)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    layer, names = layer_of(viewer), list(scene_prompts.names)
    assert layer.data.any((1, 2, 3)).tolist() == [False, False, False, True]
    for channel in range(3):
        viewer.dims.set_current_step(1, channel)
        assert mean_iou(layer._slice.image.raw[::-1], scene, names) > 0.75
        layer.paint((3, 0, channel, 100), 2)
    image.scale = (2, 3, 0.5, 0.5)
    for channel in range(3):
        place = layer.world_to_data(image.data_to_world((3, channel, 10, 20)))
        assert np.round(place).tolist() == [3, 0, 10, 20]
    child(segment, QRadioButton, "show_confidence").click()
    qtbot.waitUntil(lambda: len(maps_in_view(viewer)) == 1, timeout=60_000)
    click(segment, qtbot, "objects")
    qtbot.waitUntil(lambda: "objects of series" in viewer.layers, timeout=60_000)
    segment.keys._copy_slice(-1)
    child(segment, QComboBox, "planes").setCurrentIndex(1)
    segment.run()
    finish()
    assert mean_iou(layer.data[0, 0], scene, names) > 0.75


def test_contrast_limits_are_what_the_model_sees(segment, viewer, finish):
    values = np.zeros((64, 64), np.uint16)
    values[:, 32:] = 500
    layer = viewer.add_image(values, contrast_limits=(0, 1000))
    (part,) = segment.picker.source().parts(())
    assert np.unique(segment.picker.source().read(part)).tolist() == [0, 128]
    layer.contrast_limits = (0, 500)
    assert np.unique(segment.picker.source().read(part)).tolist() == [0, 255]


def test_a_stack_slice_by_slice_and_all_at_once(segment, viewer, scene, scene_prompts, finish):
    stack = np.stack([scene.image, scene.image[::-1], scene.image[:, ::-1]])
    viewer.add_image(stack, rgb=True, scale=(5, 1, 1))
    viewer.dims.set_current_step(0, 1)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    layer = layer_of(viewer)
    names = list(scene_prompts.names)
    assert mean_iou(layer.data[1, ::-1], scene, names) > 0.75
    assert not layer.data[[0, 2]].any()
    child(segment, QComboBox, "planes").setCurrentIndex(1)
    segment.run()
    finish()
    assert mean_iou(layer.data[0], scene, names) > 0.75
    assert mean_iou(layer.data[2, :, ::-1], scene, names) > 0.75
    segment.table.set_prompt_set(PromptSet(scene_prompts.classes[:2]))
    finish()
    assert set(np.unique(layer.data)) == {0, 1}


def test_a_stack_in_3d_before_the_pointer_has_been_on_the_canvas(
    segment, viewer, scene, scene_prompts, finish
):
    viewer.add_image(np.stack([grey(scene.image)] * 3))
    viewer.dims.ndisplay = 3
    viewer.mouse_over_canvas = True
    child(segment, QComboBox, "planes").setCurrentIndex(1)
    segment.table.set_prompt_set(PromptSet(scene_prompts.classes[1:]))
    segment.run()
    finish()
    assert layer_of(viewer).data.all()
    viewer.update_status_from_cursor()
    assert "class: " in viewer.status["coordinates"]


@pytest.mark.parametrize(
    ("view", "shown"), [({"order": (1, 0, 2)}, "z, x"), ({"ndisplay": 3}, "z, y, x")]
)
def test_only_slices_in_view_are_labelled_unless_all_are(
    segment, viewer, scene, scene_prompts, finish, view, shown
):
    viewer.add_image(np.stack([scene.image] * 3), rgb=True, axis_labels=("z", "y", "x"))
    viewer.dims.update(view)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    assert segment.runner.request is None
    assert f"axes {shown} of the stack" in child(segment, QLabel, "status").text()
    child(segment, QComboBox, "planes").setCurrentIndex(1)
    segment.run()
    finish()
    for labels in layer_of(viewer).data:
        assert mean_iou(labels, scene, list(scene_prompts.names)) > 0.75


def test_what_was_labelled_of_a_lazy_stack_stays_when_it_is_stopped(
    segment, viewer, scene, scene_prompts, finish, qtbot
):
    stack = da.from_array(np.stack([np.stack([scene.image] * 10)] * 2), chunks=(1, 1, 224, 288, 3))
    viewer.add_image(stack, rgb=True)
    viewer.dims.set_current_step(0, 1)
    viewer.dims.set_current_step(1, 4)
    labelled = []
    segment.runner.labelled.connect(lambda _request, part, _result: labelled.append(part.plane))
    child(segment, QComboBox, "planes").setCurrentIndex(1)
    segment.table.set_prompt_set(PromptSet(scene_prompts.classes[1:]))
    segment.run()
    qtbot.waitUntil(lambda: len(labelled) >= 2, timeout=60_000)
    click(segment, qtbot, "run")
    finish()
    data = layer_of(viewer).data
    assert labelled[0] == (1, 4)
    assert {*zip(*np.nonzero(data.all((2, 3))), strict=True)} == {*labelled}
    assert len(labelled) < 20
    segment.run()
    finish()
    assert data.all()


@pytest.fixture
def short(segment, viewer, scene, scene_prompts, finish):
    """A stack of three slices, labelled in the middle, that begins at the sixth of another one."""
    viewer.add_image(np.stack([grey(scene.image)] * 12), name="long")
    viewer.add_image(np.stack([scene.image] * 3), rgb=True, name="short", translate=(5, 0, 0))
    segment.table.set_prompt_set(scene_prompts)
    viewer.dims.set_current_step(0, 6)
    segment.run()
    finish()
    return layer_of(viewer)


@pytest.mark.parametrize("step", [2, 9])
def test_beyond_the_slices_of_a_stack_nothing_is_labelled_counted_or_copied(
    short, segment, viewer, qtbot, step
):
    before = short.data.copy()
    assert before.any((1, 2)).tolist() == [False, True, False]
    viewer.dims.set_current_step(0, step)
    status = child(segment, QLabel, "status")
    segment.run()
    assert segment.runner.request is None
    assert "the sliders are beyond the slices of short" in status.text()
    for act in (
        lambda: click(segment, qtbot, "objects"),
        segment.keys._next_place,
        lambda: segment.keys._copy_slice(1),
        lambda: segment.keys._copy_slice(-1),
    ):
        segment._tell("")
        act()
        assert "no slice of this image in view" in status.text()
    child(segment, QRadioButton, "show_confidence").click()
    np.testing.assert_array_equal(short.data, before)
    assert viewer.dims.current_step[0] == step
    assert not maps_in_view(viewer)


def test_the_next_slice_is_that_of_the_labels_where_another_layer_has_thinner_ones(
    segment, viewer, scene, scene_prompts, finish
):
    viewer.add_image(np.stack([grey(scene.image)] * 9), name="thin")
    viewer.add_image(np.stack([scene.image] * 3), rgb=True, name="thick", scale=(4, 1, 1))
    viewer.dims.set_point(0, 0)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    layer = layer_of(viewer)
    segment.keys._copy_slice(1)
    assert viewer.dims.point[0] == 4
    np.testing.assert_array_equal(layer.data[1], layer.data[0])


def test_the_slice_in_view_is_labelled_where_layers_have_different_units(
    segment, viewer, scene, scene_prompts, finish
):
    stack = np.stack([scene.image] * 6)
    fine = {"scale": (1000, 100, 100), "units": ("nm", "nm", "nm")}
    viewer.add_image(stack, rgb=True, name="fine", **fine)
    viewer.add_image(stack, rgb=True, name="coarse", scale=(1, 0.1, 0.1), units=("um", "um", "um"))
    viewer.dims.set_current_step(0, 3)
    segment.table.set_prompt_set(scene_prompts)
    for name in ("coarse", "fine"):
        image = viewer.layers[name]
        segment.picker.choose(image)
        segment.run()
        finish()
        labelled = viewer.layers[f"labels of {name}"].data.any((1, 2))
        assert np.flatnonzero(labelled).tolist() == [round(image._data_slice.point[0])]
