"""Parts of images, and images that are labelled part by part."""

import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QRadioButton

from dinoiser.prompts import PromptSet
from napari_dinoiser.segment import parts
from tests.helpers.segment_driver import child, click, layer_of, maps_in_view


def test_a_rectangle_is_labelled_alone(segment, viewer, scene, scene_prompts, finish):
    viewer.add_image(scene.image, scale=(2, 2), translate=(5, 7))
    corners = np.array([(0, 0), (0, 100), (110, 100), (110, 0)]) * 2 + (5, 7)
    viewer.add_shapes([corners], shape_type="rectangle", name="here")
    region = child(segment, QComboBox, "region")
    region.setCurrentIndex(region.findText("rectangle in here"))
    segment.table.set_prompt_set(
        PromptSet(scene_prompts.classes[1:])
    )  # no background: all labelled
    segment.run()
    finish()
    data = layer_of(viewer).data
    assert (data[:110, :100] > 0).all()
    assert not data[111:].any()
    assert not data[:, 101:].any()


@pytest.fixture
def large(viewer, scene, qtbot, monkeypatch):
    """An image of ten by ten scenes, too large to be labelled at once, zoomed into."""
    monkeypatch.setattr(parts, "MAX_PIXELS", 2**20)  # it has six times as many
    monkeypatch.setattr(parts, "TILE_SIDES", (1024, 1024))
    big = np.tile(scene.image, (10, 10, 1))  # 2240 x 2880
    levels = [big, big[::4, ::4], big[::16, ::16]]
    layer = viewer.add_image(levels, rgb=True, multiscale=True, name="large")
    viewer.show()  # what is visible is known to a window that is drawn
    look_at(viewer, (500, 600))
    qtbot.waitUntil(lambda: layer.corner_pixels[0].min() > 0)
    return layer


def look_at(viewer, center):
    camera = getattr(viewer, "scene", viewer).camera
    camera.center, camera.zoom = center, 2


@pytest.fixture
def order(segment):
    """The parts in the order in which they are labelled."""
    seen = []
    segment.runner.labelled.connect(lambda _request, part, _result: seen.append(part))
    return seen


def choose(segment, region):
    chooser = child(segment, QComboBox, "region")
    chooser.setCurrentIndex(chooser.findText(region))


@pytest.fixture
def objects(scene_prompts):
    """Words without a background, so that every pixel that is labelled has a class."""
    return PromptSet(scene_prompts.classes[1:])


def test_the_visible_part_of_a_large_image(segment, viewer, large, objects, finish):
    choose(segment, "visible part")
    segment.table.set_prompt_set(objects)
    segment.run()
    finish()
    labelled = np.argwhere(layer_of(viewer).data)
    low, high = labelled.min(0), labelled.max(0)
    assert (labelled.mean(0).round() // 100).tolist() == [5, 6]
    assert (high - low).max() < 1500
    assert layer_of(viewer).data.shape == large.data[0].shape[:2]


def test_a_large_image_is_labelled_from_the_view_on(segment, viewer, large, objects, finish, order):
    segment.table.set_prompt_set(objects)
    segment.run()
    finish()
    assert layer_of(viewer).data.all()
    edges = [(p.rows.start - 500, p.columns.start - 600) for p in order]
    away = np.hypot(*np.maximum(edges, 0).T)  # the tiles lie at the right of the view and below it
    assert len(away) == 9
    assert (np.diff(away) >= 0).all()


def test_new_words_reach_all_of_a_large_image_and_first_what_is_in_view_now(
    segment, viewer, large, objects, finish, order, looks, qtbot
):
    segment.table.set_prompt_set(objects)
    segment.run()
    finish()
    number_of_looks, number_of_parts = len(looks), len(order)
    look_at(viewer, (1900, 2400))
    qtbot.waitUntil(lambda: large.corner_pixels[0].min() * 4 > 500 or large.data_level == 0)
    del order[:]
    segment.table.set_prompt_set(PromptSet(objects.classes[:1]))
    finish()
    assert set(np.unique(layer_of(viewer).data)) == {objects.classes[0].id}
    assert len(looks) == number_of_looks
    assert len(order) == number_of_parts
    first = order[0]
    assert first.rows.start < 1900 < first.rows.stop
    assert first.columns.start < 2400 < first.columns.stop


@pytest.mark.slow
def test_cancelling_keeps_what_is_labelled_and_running_again_goes_on(
    segment, viewer, large, objects, finish, order, looks, qtbot
):
    segment.table.set_prompt_set(objects)
    segment.run()
    qtbot.waitUntil(lambda: len(order) >= 3, timeout=60_000)
    click(segment, qtbot, "run")
    finish()
    data = layer_of(viewer).data
    assert data[order[0].key].all()
    assert not data.all()
    number_of_looks = len(looks)
    segment.run()
    finish()
    assert layer_of(viewer).data.all()
    assert len(looks) - number_of_looks < len({part.place for part in order})


def test_words_changed_before_the_end_count_for_all_of_the_image(
    segment, viewer, large, objects, finish, order, qtbot
):
    segment.table.set_prompt_set(objects)
    segment.run()
    qtbot.waitUntil(lambda: len(order) >= 2, timeout=60_000)
    segment.table.set_prompt_set(PromptSet(objects.classes[:1]))
    finish()
    assert (layer_of(viewer).data == objects.classes[0].id).all()


def test_of_overlapping_rectangles_each_follows_the_words_where_it_is_the_newest(
    segment, viewer, scene, scene_prompts, finish
):
    viewer.add_image(scene.image)
    names = {}
    for name, (top, left, bottom, right) in (
        ("first", (0, 0, 160, 160)),
        ("second", (100, 100, 224, 288)),
    ):
        corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
        viewer.add_shapes([corners], shape_type="rectangle", name=name)
        names[name] = slice(top, bottom), slice(left, right)
    expected, words = {}, (PromptSet(scene_prompts.classes[1:]), scene_prompts)
    for prompts in words:
        segment.table.set_prompt_set(prompts)
        for name in names:  # each by itself, as it would be without the other
            choose(segment, f"rectangle in {name}")
            segment.run()
            finish()
            expected[prompts, name] = layer_of(viewer).data[names[name]].copy()
        shown = layer_of(viewer).data.copy()
    segment.table.set_prompt_set(words[0])
    finish()
    data = layer_of(viewer).data
    np.testing.assert_array_equal(data[names["second"]], expected[words[0], "second"])
    np.testing.assert_array_equal(data[:100, :160], expected[words[0], "first"][:100])
    np.testing.assert_array_equal(data[100:160, :100], expected[words[0], "first"][100:, :100])
    segment.table.set_prompt_set(words[1])
    finish()
    np.testing.assert_array_equal(layer_of(viewer).data, shown)


def test_the_heat_map_of_a_large_image_is_there_wherever_the_view_goes(
    segment, viewer, large, objects, finish, qtbot
):
    segment.table.set_prompt_set(objects)
    segment.run()
    finish()
    child(segment, QRadioButton, "show_heatmap").setChecked(True)
    qtbot.waitUntil(lambda: len(maps_in_view(viewer)) == 1)
    (heat,) = maps_in_view(viewer)
    assert heat.data[500, 600] > 0
    assert heat.data[1900, 2400] == 0
    look_at(viewer, (1900, 2400))
    qtbot.waitUntil(lambda: heat.data[1900, 2400] > 0, timeout=5000)


def test_a_stroke_on_a_large_image_is_kept(segment, viewer, large, objects, finish):
    segment.table.set_prompt_set(objects)
    segment.run()
    finish()
    layer = layer_of(viewer)
    layer.brush_size = 20
    layer.paint((1000, 1600), 7)
    segment.table.set_prompt_set(PromptSet(objects.classes[:1]))
    finish()
    assert layer.data[1000, 1600] == 7
    assert np.isin(layer.data, (7, objects.classes[0].id)).all()
    layer.undo()
    assert layer.data[1000, 1600] == objects.classes[0].id
