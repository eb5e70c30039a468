"""Layers that the plugin puts over those of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Layer

OWN = "dinoiser-made"
"""Metadata key of layers made by this plugin, which are not offered as images."""


def place_labels(layer: Layer, channel_axis: int | None = None) -> dict[str, Any]:
    """Return the placement of a Labels layer exactly over another layer.

    Parameters
    ----------
    layer
        The other layer.
    channel_axis
        Axis of it that the labels do not have.

    Returns
    -------
    dict
        `scale` and `translate` or, if the layer is rotated or sheared, `affine`
        (n + 1, n + 1) for `napari.layers.Labels`; also its `units`.
    """
    kept = [axis for axis in range(layer.ndim) if axis != channel_axis]
    # the layer's transform as an origin and one column per axis, found by transforming unit vectors
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    steps = [np.asarray(layer.data_to_world(unit)) - origin for unit in np.eye(layer.ndim)]
    matrix = np.stack(steps, 1)[np.ix_(kept, kept)]
    units = {"units": tuple(layer.units[axis] for axis in kept)}
    if np.array_equal(matrix, np.diag(matrix.diagonal())):
        return {"scale": matrix.diagonal(), "translate": origin[kept], **units}
    affine = np.eye(len(kept) + 1)
    affine[:-1, :-1], affine[:-1, -1] = matrix, origin[kept]
    return {"affine": affine, **units}


def insert_unselected(layers: LayerList, index: int, layer: Layer) -> None:
    """Insert a layer and leave the selection as it is, so that the user goes on as before."""
    selected = set(layers.selection)
    # napari selects it in between; not told of that, its panels spare themselves the work
    with layers.selection.events.blocker_all():
        layers.insert(index, layer)
        layers.selection = selected
