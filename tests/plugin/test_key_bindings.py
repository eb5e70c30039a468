"""Keys that are bound for a while."""

import gc
import weakref
from functools import partial

import numpy as np
from napari.layers import Labels

from napari_dinoiser.key_bindings import KeyBindings


def bound(layer):
    return {str(key): action for key, action in layer.keymap.items()}


def test_keys_work_while_they_are_bound_and_what_was_there_comes_back():
    pressed, layer, late = [], *(Labels(np.zeros((3, 3), int)) for _ in range(2))
    layer.bind_key("Q", lambda _: pressed.append("before"))
    keys = KeyBindings({"Q": lambda: pressed.append("ours")})
    keys.add(layer)
    bound(layer)["Q"](layer)
    keys.bind()
    keys.add(late)
    bound(layer)["Q"](layer)
    bound(late)["Q"](late)
    keys.release()
    bound(layer)["Q"](layer)
    assert pressed == ["before", "ours", "ours", "before"]
    assert "Q" not in bound(late)


def test_a_layer_that_is_gone_is_not_held():
    keys = KeyBindings({"Q": print})
    keys.bind()
    layer = Labels(np.zeros((3, 3), int))
    keys.add(layer)
    gone = weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None
    keys.release()


def test_two_panels_may_release_the_same_key_in_any_order():
    pressed, layer = [], Labels(np.zeros((3, 3), int))
    first, second = (KeyBindings({"Q": partial(pressed.append, name)}) for name in ("one", "two"))
    for keys in (first, second):
        keys.add(layer)
        keys.bind()
    first.release()
    bound(layer)["Q"](layer)
    assert pressed == ["two"]
    second.release()
    assert "Q" not in bound(layer)
