"""The object at a point of an image: what looks like it, and hangs together.

It is what labelling with two classes gives, one of which is "like the patch at this point". Patches
belong to it whose features are more similar to the point's than half-way between itself and what is
usual in the image; the edges are those of all labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage  # type: ignore[import-untyped]
from torch.nn import functional as F

from dinoiser.segment.canvas import Canvas
from dinoiser.segment.probability_map import Tile
from dinoiser.segment.scoring import scores_of

if TYPE_CHECKING:
    from torch import Tensor

    from dinoiser.segment.encoded_image import EncodedImage
    from dinoiser.segment.windows import WindowLayout

REACH = 0.5
"""How dissimilar a patch of an object may be: 0 like the point itself, 1 like the usual patch."""
STEEPNESS = 20.0
"""Similarities to probabilities: 0.1 more than the middle is a probability of 0.88."""
MARGIN = 3
"""Patches around an object in which its edges may be."""


@torch.no_grad()
def object_at(encoded: EncodedImage, row: int, column: int, reach: float = REACH) -> np.ndarray:
    """Find the pixels of the object at a point.

    Parameters
    ----------
    encoded
        The image.
    row, column
        The point, in pixels.
    reach
        How dissimilar its parts may be, in (0, 1]; see `REACH`.

    Returns
    -------
    ndarray
        (H, W) bool; it has the point, and is connected but perhaps for the point.
        Only the point itself if nothing around it is similar.
    """
    alike = _similarities(encoded, row, column)
    middle = 1 - reach * (1 - alike.median())
    share = torch.sigmoid(STEEPNESS * (alike - middle))
    within = _surroundings(share > 0.5, encoded.layout, (row, column))
    found = _decide(encoded, share, within)
    point = row - within.rows.start, column - within.columns.start
    parts, _ = ndimage.label(found, np.ones((3, 3)))  # diagonal neighbours hang together
    mask = np.zeros(encoded.layout.size, bool)
    mask[within] = found & (parts == parts[_nearest(found, point)])
    mask[row, column] = True
    return mask


def _similarities(encoded: EncodedImage, row: int, column: int) -> Tensor:
    """Cosines (n, h, w) of the features of all patches with those at a point."""
    features = F.normalize(encoded.patches.features.float(), dim=1)
    layout = encoded.layout
    y, x = _in_working_size(layout, row, column)
    # the window in which the point is the deepest knows most of what is around it
    depths = [min(y - w.top, w.bottom - y, x - w.left, w.right - x) for w in layout.windows]
    number = int(np.argmax(depths))
    window = layout.windows[number]
    height, width = window.bottom - window.top, window.right - window.left
    # grid_sample counts from -1 to 1, over the edges of the outer patches
    place = torch.tensor([2 * (x - window.left) / width - 1, 2 * (y - window.top) / height - 1])
    grid = place.to(features).reshape(1, 1, 1, 2)
    sampled = F.grid_sample(
        features[number : number + 1], grid, padding_mode="border", align_corners=False
    )
    point = F.normalize(sampled[0, :, 0, 0], dim=0)
    return torch.einsum("d,ndhw->nhw", point, features)


def _surroundings(found: Tensor, layout: WindowLayout, point: tuple[int, int]) -> Tile:
    """Return the rectangle of pixels around the patches that hang together with a point.

    Parameters
    ----------
    found
        (n, h, w) bool, patches of all windows.
    layout
        The windows.
    point
        (row, column), in pixels.
    """
    # a patch in pixels of the working size, and patches of all windows on one grid
    patch = np.array(layout.window_size) / found.shape[1:]
    grid = np.zeros(np.ceil(np.array(layout.working_size) / patch).astype(int), bool)
    for window, patches in zip(layout.windows, found.cpu().numpy(), strict=True):
        top, left = np.round((window.top, window.left) / patch).astype(int)
        place = grid[top : top + patches.shape[0], left : left + patches.shape[1]]
        place |= patches[: place.shape[0], : place.shape[1]]
    seed = tuple(np.minimum(_in_working_size(layout, *point) // patch, np.array(grid.shape) - 1))
    seed = int(seed[0]), int(seed[1])
    grid[seed] = True
    # Windows need not begin at whole patches, so that one may seem to be missing in between.
    parts, _ = ndimage.label(ndimage.binary_dilation(grid, np.ones((3, 3))))
    spans = ndimage.find_objects(parts)[parts[seed] - 1]
    scale = patch * layout.size / layout.working_size
    rows, columns = (
        slice(
            max(0, int((span.start - MARGIN) * side)),
            min(length, int(np.ceil((span.stop + MARGIN) * side))),
        )
        for span, side, length in zip(spans, scale, layout.size, strict=True)
    )
    return Tile(rows, columns)


def _decide(encoded: EncodedImage, share: Tensor, within: Tile) -> np.ndarray:
    """Decide for each pixel of a rectangle between a class with these shares (n, h, w) and none."""
    pipeline = encoded.pipeline
    shares = torch.stack([share, 1 - share], 1)
    scores = scores_of(shares, pipeline.model.scoring)
    probabilities = pipeline.lay_out(scores, encoded.layout)
    refined = pipeline.refined(probabilities, encoded.image, encoded.colours)
    canvas = Canvas.blank(within, np.arange(2, dtype=np.uint8), refined.device)
    refined.decide(canvas)
    return canvas.arrays()[0] == 0


def _nearest(found: np.ndarray, point: tuple[int, int]) -> tuple[int, int]:
    """Return the pixel that was found nearest to a point, or the point if none was."""
    if found[point] or not found.any():
        return point
    rows, columns = np.nonzero(found)
    nearest = np.argmin((rows - point[0]) ** 2 + (columns - point[1]) ** 2)
    return int(rows[nearest]), int(columns[nearest])


def _in_working_size(layout: WindowLayout, row: int, column: int) -> np.ndarray:
    """Convert the centre of a pixel to (y, x) of the working size."""
    return (np.array((row, column)) + 0.5) * layout.working_size / layout.size
