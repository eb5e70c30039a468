"""The Segment tab on image layers of every kind."""

import dask.array as da
import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QLabel, QSpinBox

from dinoiser.prompts import PromptSet
from tests.helpers.segment_driver import child, click, layer_of, mean_iou


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
