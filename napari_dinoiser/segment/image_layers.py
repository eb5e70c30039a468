"""Read images from napari Image layers, and place labels over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoiser.in_view import full_size, in_pixels, in_world
from napari_dinoiser.segment.image_source import ImageSource

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image, Layer, Shapes

MANY_CHANNELS = 64
"""Longer axes are assumed to be slices or time."""


def source_of_layer(
    layer: Image, channel_axis: int | None = None, channels: tuple[int, ...] = (0,)
) -> ImageSource:
    """Make the source of a layer as displayed: with contrast limits, but without colormap.

    Parameters
    ----------
    layer
        Any image layer; its last two axes are rows and columns.
    channel_axis, channels
        See `ImageSource`.
    """
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    low, high = (0.0, 0.0) if layer.rgb else layer.contrast_limits
    limits = None if layer.rgb else (float(low), float(high))
    return ImageSource(levels, layer.rgb, limits, channel_axis, channels)


def channel_axes(layer: Image) -> dict[int, int]:
    """Return axes that may be channels, with their lengths: leading axes that are not long."""
    if layer.rgb:
        return {}
    shape = full_size(layer).shape
    return {axis: n for axis, n in enumerate(shape[:-2]) if 1 < n <= MANY_CHANNELS}


def visible_part(layer: Image) -> tuple[slice, slice]:
    """Return the rows and columns, in full size, that the canvas shows."""
    corners = np.asarray(layer.corner_pixels)
    factors = (
        layer.downsample_factors[layer.data_level] if layer.multiscale else np.ones(layer.ndim)
    )
    low, high = corners * factors
    rows, columns = (slice(int(low[axis]), int(np.ceil(high[axis])) + 1) for axis in (-2, -1))
    return rows, columns


def drawn_part(shapes: Shapes, layer: Layer, dims: Dims) -> tuple[slice, slice] | None:
    """Return the rows and columns of a layer covered by the selected or last drawn shape.

    Parameters
    ----------
    shapes
        Layer with a rectangle; for other shapes, their bounding rectangle is used.
    layer
        Layer whose pixels are returned.
    dims
        The viewer's sliders.

    Returns
    -------
    tuple of slice, or None
        None if nothing is drawn.
    """
    if not len(shapes.data):
        return None
    chosen = max(shapes.selected_data, default=len(shapes.data) - 1)
    world = [in_world(dims, shapes, corner) for corner in shapes.data[chosen]]
    flat = np.asarray(world)[:, -2:]  # shapes may have fewer axes than the stack
    leading = np.zeros((len(flat), layer.ndim - 2))
    points = np.stack([in_pixels(dims, layer, point) for point in np.hstack([leading, flat])])
    low, high = points[:, -2:].min(0), points[:, -2:].max(0)
    rows, columns = (
        slice(max(0, round(a)), max(0, round(b))) for a, b in zip(low, high, strict=True)
    )
    return rows, columns
