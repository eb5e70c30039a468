"""Where a viewer's sliders and pointer are in a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.components import Dims
    from napari.layers import Layer
    from numpy.typing import ArrayLike

T = TypeVar("T")


def without_channels(values: Iterable[T], channel_axis: int | None, instead: T) -> list[T]:
    """Return values of an image's axes as its labels have them.

    napari lines layers up by their last axes. So labels can do without channels only
    if these are the first axis; on another one, all channels are one place in the labels.

    Parameters
    ----------
    values
        One per axis of the image.
    channel_axis
        Which of these contains channels; None if none does.
    instead
        The value of the one place.
    """
    values = list(values)
    if channel_axis is not None:
        values[channel_axis : channel_axis + 1] = [instead] if channel_axis else []
    return values


def full_size(layer: Layer) -> Any:
    """Return the array of a layer, or the largest one of a pyramid."""
    return layer.data[0] if layer.multiscale else layer.data


def in_pixels(dims: Dims, layer: Layer, point: ArrayLike) -> np.ndarray:
    """Return a point of the viewer, one number per axis of it, in the pixels of a layer."""
    return np.asarray(layer.world_to_data(np.asarray(point)[-layer.ndim :] * _factors(dims, layer)))


def in_world(dims: Dims, layer: Layer, place: ArrayLike) -> np.ndarray:
    """Return a place in the pixels of a layer as a point of the viewer, the layer's axes alone."""
    return np.asarray(layer.data_to_world(place)) / _factors(dims, layer)


def plane_in_view(
    dims: Dims, layer: Layer, channel_axis: int | None = None
) -> tuple[int, ...] | None:
    """Return the plane of a layer at which the sliders are.

    Parameters
    ----------
    dims
        The sliders.
    layer
        The layer; its last two axes are rows and columns.
    channel_axis
        Axis of it that contains channels, see `without_channels`.

    Returns
    -------
    tuple of int or None
        One number per leading axis; None where the layer has no plane, as other
        layers may have more slices.
    """
    point = map(float, in_pixels(dims, layer, dims.point)[:-2])
    plane = without_channels(map(round, point), channel_axis, 0)
    lengths = without_channels(full_size(layer).shape, channel_axis, 1)
    inside = all(0 <= at < length for at, length in zip(plane, lengths, strict=False))
    return tuple(plane) if inside else None


def move_slider(dims: Dims, layer: Layer, axis: int, step: int) -> None:
    """Move the slider of a layer's axis by as much as one of its slices is thick, times a step."""
    place = in_pixels(dims, layer, dims.point)
    place[axis] += step
    dims.set_point(dims.ndim - layer.ndim + axis, in_world(dims, layer, place)[axis])


def _factors(dims: Dims, layer: Layer) -> np.ndarray:
    """Return how many units of a layer the viewer's units are, (axes,).

    A viewer with micrometres in one layer and nanometres in another has one unit
    for both since napari 0.9, which `Layer.world_to_data` does not know.
    """
    units = getattr(dims, "units", None)  # None as well where they cannot be converted
    if units is None:
        return np.ones(layer.ndim)
    pairs = zip(units[-layer.ndim :], layer.units, strict=True)
    return np.array([(1 * unit).to(own).magnitude for unit, own in pairs])
