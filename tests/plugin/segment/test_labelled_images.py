"""What a new answer leaves as it is."""

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from dinoiser.prompts import PromptSet


@pytest.fixture
def layer(segment, viewer, scene, scene_prompts, finish):
    """The labels of a scene, with a column and colours of a person's own."""
    viewer.add_image(scene.image)
    segment.table.set_prompt_set(scene_prompts)
    segment.run()
    finish()
    (layer,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    layer.features = layer.features.assign(weight=range(len(layer.features)))
    layer.colormap = DirectLabelColormap(color_dict={None: "red"})
    return layer


def is_red(layer, label):
    return np.array_equal(layer.colormap.map(label), [1, 0, 0, 1])


def test_an_own_column_and_own_colours_survive_the_next_answer(layer, segment, finish):
    before = layer.features.copy()
    segment.advanced.set_ignore_below(0.9)
    finish()
    assert (layer.data == 255).any()
    assert layer.features.equals(before)
    assert is_red(layer, 1)


def test_a_new_colour_leaves_the_columns(layer, segment, scene_prompts):
    first = scene_prompts.classes[1]
    segment.table.set_color(first.id, "#123456")
    assert np.allclose(layer.colormap.map(first.id)[:3], np.array([0x12, 0x34, 0x56]) / 255)
    assert "weight" in layer.features


def test_a_new_name_is_given(layer, segment, scene_prompts, finish):
    first, *others = scene_prompts.names[1:]
    segment.table.set_prompt_set(PromptSet.from_names(["background", *others, first]))
    finish()
    assert layer.features["class"].tolist() == ["background", *others, first, "ignore"]
