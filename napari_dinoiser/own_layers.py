"""Layers that the plugin puts over those of the user."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoiser.in_view import full_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import LayerList
    from napari.layers import Layer

OWN = "dinoiser-made"
"""Metadata key of layers made by this plugin, which are not offered as images."""
PHOTO = "dinoiser-photo"
"""Metadata key of which photo a layer shows that shows one after another."""


def place_labels(layer: Layer, channel_axis: int | None = None) -> dict[str, Any]:
    """Return the placement of a Labels layer exactly over another layer.

    Parameters
    ----------
    layer
        The other layer.
    channel_axis
        Axis of it that contains channels, see `without_channels`.

    Returns
    -------
    dict
        `scale` and `translate` or, if the layer is rotated or sheared, `affine`
        (n + 1, n + 1) for `napari.layers.Labels`; also its `units`.
    """
    # the layer's transform as an origin and one column per axis, found by transforming unit vectors
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    steps = [np.asarray(layer.data_to_world(unit)) - origin for unit in np.eye(layer.ndim)]
    if channel_axis:  # the labels' one place there reaches from the first channel to the last
        count = full_size(layer).shape[channel_axis]
        origin = origin + steps[channel_axis] * (count - 1) / 2
        steps[channel_axis] = steps[channel_axis] * count
    kept = slice(int(channel_axis == 0), None)
    matrix = np.stack(steps, 1)[kept, kept]
    units = {"units": tuple(layer.units[kept])}
    if np.array_equal(matrix, np.diag(matrix.diagonal())):
        return {"scale": matrix.diagonal(), "translate": origin[kept], **units}
    affine = np.eye(len(matrix) + 1)
    affine[:-1, :-1], affine[:-1, -1] = matrix, origin[kept]
    return {"affine": affine, **units}


def keep_over(layer: Layer, other: Layer, channel_axis: int | None = None) -> None:
    """Let a layer that lies over another go where that one goes, see `place_labels`.

    Nothing is done while the other has another number of axes, as after other data.
    """
    there = weakref.ref(layer)  # the other outlives it, and would keep its arrays

    def follow(event: Any = None) -> None:
        layer = there()
        if layer is None or layer.ndim != other.ndim - (channel_axis == 0):
            return
        n = layer.ndim
        plain = {"scale": np.ones(n), "translate": np.zeros(n), "affine": np.eye(n + 1)}
        for name, value in (plain | place_labels(other, channel_axis)).items():
            setattr(layer, name, value)

    for name in ("scale", "translate", "rotate", "shear", "affine", "units"):
        other.events[name].connect(follow)


def when_renamed(layers: LayerList, call: Callable[[Any], None]) -> None:
    """Call a method with an event whenever a layer is renamed, one that is yet to come included."""
    method = weakref.WeakMethod(call)

    def watch(event: Any) -> None:
        if (call := method()) is not None:
            event.value.events.name.connect(call)  # napari keeps it weakly, too

    for layer in layers:
        layer.events.name.connect(call)
    layers.events.inserted.connect(watch)


def insert_unselected(layers: LayerList, index: int, layer: Layer) -> None:
    """Insert a layer and leave the selection as it is, so that the user goes on as before."""
    selected = set(layers.selection)
    # napari selects it in between; not told of that, its panels spare themselves the work
    with layers.selection.events.blocker_all():
        layers.insert(index, layer)
        layers.selection = selected
