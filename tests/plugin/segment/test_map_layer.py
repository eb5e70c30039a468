"""The confidence and heat maps, chosen as users choose them."""

import pytest
from qtpy.QtWidgets import QComboBox, QRadioButton

from tests.helpers.segment_driver import child, layer_of, maps_in_view, select_class

CONFIDENCE, HEAT_MAP = "show_confidence", "show_heatmap"


@pytest.fixture
def choose(labelled):
    """Choose what is shown."""
    return lambda name: child(labelled, QRadioButton, name).setChecked(True)


@pytest.fixture
def see(viewer, qtbot):
    """Wait for a map whose name begins so, and return its layer."""

    def wait(name):
        qtbot.waitUntil(lambda: [one.name.startswith(name) for one in maps_in_view(viewer)] == [1])
        return maps_in_view(viewer)[0]

    return wait


def test_one_layer_shows_one_map_after_another(labelled, viewer, choose, see):
    layer, layers = layer_of(viewer), set()
    for _ in range(2):
        choose(CONFIDENCE)
        shown = see("confidence of scene")
        assert (shown.data == labelled.images.of(viewer.layers["scene"]).session.confidence).all()
        assert layer.contour > 0  # so that the map is seen
        choose(HEAT_MAP)
        assert 0.5 < see("heat map: ").data.max() <= 1
        assert layer.contour > 0
        choose("show_labels")
        assert maps_in_view(viewer) == []
        assert layer.contour == 0
        layers.add(shown)
    assert len(layers) == 1
    assert child(labelled, QComboBox, "image_picker").count() == 1


def test_a_map_comes_below_the_labels_and_leaves_the_brush_in_the_hand(viewer, choose, see):
    layer = layer_of(viewer)
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    choose(CONFIDENCE)
    shown = see("confidence")
    assert list(viewer.layers) == [viewer.layers["scene"], shown, layer]
    assert viewer.layers.selection.active is layer
    assert layer.mode == "paint"


def test_the_heat_map_is_that_of_the_selected_class_and_of_the_latest_words(
    labelled, choose, see, scene_prompts, finish, qtbot
):
    choose(HEAT_MAP)
    first, second = scene_prompts.classes[1:3]
    before = see(f"heat map: {first.name}").data.copy()
    select_class(labelled, 1)
    other = see(f"heat map: {second.name}").data
    assert (other != before).any()
    labelled.table.set_prompt_set(type(scene_prompts)(scene_prompts.classes[:2]))
    finish()
    shown = see(f"heat map: {first.name}")
    qtbot.waitUntil(lambda: (shown.data != before).any())


def test_the_last_choice_counts_while_a_map_is_computed(viewer, choose, see, qtbot):
    choose(HEAT_MAP)
    choose(CONFIDENCE)
    see("confidence")
    choose(HEAT_MAP)
    choose("show_labels")
    qtbot.wait(300)
    assert maps_in_view(viewer) == []
    assert layer_of(viewer).contour == 0


def test_a_map_that_was_deleted_comes_back_when_it_is_chosen_again(viewer, choose, see):
    choose(CONFIDENCE)
    viewer.layers.remove(see("confidence"))
    choose("show_labels")
    choose(CONFIDENCE)
    assert see("confidence") in viewer.layers


def test_a_map_goes_with_its_labels_also_before_it_has_come(viewer, choose, see, qtbot):
    choose(CONFIDENCE)
    see("confidence")
    choose(HEAT_MAP)
    viewer.layers.remove(layer_of(viewer))
    assert maps_in_view(viewer) == []
    qtbot.wait(200)
    assert [layer.name for layer in viewer.layers] == ["scene"]
