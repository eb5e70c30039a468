"""More than 254 words in the Segment tab."""

import numpy as np
import pytest

from dinoiser.prompts import PromptSet
from tests.helpers.segment_driver import layer_of


@pytest.mark.slow
def test_classes_beyond_a_byte_are_labelled_and_painted(segment, viewer, scene, finish):
    many = [f"kind {number}" for number in range(255)]
    viewer.add_image(scene.image)
    segment.table.set_prompt_set(PromptSet.from_names([*many, *scene.names, "background"]))
    segment.run()
    finish()
    layer = layer_of(viewer)
    found = np.unique(layer.data)
    assert found.max() > 255
    ids = {item.name: item.id for item in segment.table.prompt_set().classes}
    name = scene.names[0]
    assert ids[name] > 255
    assert layer.data.dtype == np.uint16
    layer.selected_label = ids[name]
    layer.data_setitem((np.array([3, 4]), np.array([3, 4])), ids[name])
    segment.run()
    finish()
    assert (layer.data[[3, 4], [3, 4]] == ids[name]).all()
