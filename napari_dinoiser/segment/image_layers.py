"""napari Image layers: the images they hold, and where their labels belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoiser.segment.image_source import ImageSource

if TYPE_CHECKING:
    from napari.layers import Image, Layer, Shapes

MANY_CHANNELS = 64
"""Longer axes are taken for slices or time."""


def source_of_layer(
    layer: Image, channel_axis: int | None = None, channels: tuple[int, ...] = (0,)
) -> ImageSource:
    """Look at a layer as it is shown: with its contrast limits, but without its colormap.

    Parameters
    ----------
    layer
        Any image layer; the last two of its axes are rows and columns.
    channel_axis, channels
        See `ImageSource`.
    """
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    low, high = (0.0, 0.0) if layer.rgb else layer.contrast_limits
    limits = None if layer.rgb else (float(low), float(high))
    return ImageSource(levels, layer.rgb, limits, channel_axis, channels)


def channel_axes(layer: Image) -> dict[int, int]:
    """Axes that may hold channels, and how many: leading ones that are not long."""
    if layer.rgb:
        return {}
    shape = _shape(layer)
    return {axis: n for axis, n in enumerate(shape[:-2]) if 1 < n <= MANY_CHANNELS}


def place_labels(layer: Image, channel_axis: int | None = None) -> dict[str, Any]:
    """Give what makes a Labels layer lie exactly over an image layer.

    Parameters
    ----------
    layer
        The image layer.
    channel_axis
        Axis of it that the labels do not have.

    Returns
    -------
    dict
        `scale` and `translate`, or, where the layer is turned or sheared,
        `affine` (n + 1, n + 1) for `napari.layers.Labels`; and its `units`.
    """
    kept = [axis for axis in range(layer.ndim) if axis != channel_axis]
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    steps = [np.asarray(layer.data_to_world(unit)) - origin for unit in np.eye(layer.ndim)]
    matrix = np.stack(steps, 1)[np.ix_(kept, kept)]
    units = {"units": tuple(layer.units[axis] for axis in kept)}
    if np.array_equal(matrix, np.diag(matrix.diagonal())):
        return {"scale": matrix.diagonal(), "translate": origin[kept], **units}
    affine = np.eye(len(kept) + 1)
    affine[:-1, :-1], affine[:-1, -1] = matrix, origin[kept]
    return {"affine": affine, **units}


def visible_part(layer: Image) -> tuple[slice, slice]:
    """Rows and columns of the full size that the canvas shows."""
    corners = np.asarray(layer.corner_pixels)
    factors = (
        layer.downsample_factors[layer.data_level] if layer.multiscale else np.ones(layer.ndim)
    )
    low, high = corners * factors
    rows, columns = (slice(int(low[axis]), int(np.ceil(high[axis])) + 1) for axis in (-2, -1))
    return rows, columns


def drawn_part(shapes: Shapes, layer: Layer) -> tuple[slice, slice] | None:
    """Rows and columns of a layer that the chosen shape covers, or else the last one drawn.

    Parameters
    ----------
    shapes
        Where a rectangle was drawn; of other shapes the rectangle around them counts.
    layer
        Whose pixels are meant.

    Returns
    -------
    tuple of slice, or None
        None where nothing is drawn.
    """
    if not len(shapes.data):
        return None
    chosen = max(shapes.selected_data, default=len(shapes.data) - 1)
    world = [shapes.data_to_world(corner) for corner in shapes.data[chosen]]
    flat = np.asarray(world)[:, -2:]  # shapes may have fewer axes than a stack
    leading = np.zeros((len(flat), layer.ndim - 2))
    points = np.stack([layer.world_to_data(point) for point in np.hstack([leading, flat])])
    low, high = points[:, -2:].min(0), points[:, -2:].max(0)
    rows, columns = (
        slice(max(0, round(a)), max(0, round(b))) for a, b in zip(low, high, strict=True)
    )
    return rows, columns


def _shape(layer: Image) -> tuple[int, ...]:
    return tuple((layer.data[0] if layer.multiscale else layer.data).shape)
