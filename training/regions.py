"""Segments of any image without any network: what looks alike and lies together."""

from __future__ import annotations

import numpy as np

SCALE = 300
"""Larger: larger regions."""
SMOOTHING = 2.0
SMALLEST_SHARE = 1 / 200
"""Regions smaller than this share of the image are joined to their neighbours."""
BORDER_SHARE = 0.05
"""A region that holds this share of the image's border is background."""


def find_regions(image: np.ndarray) -> np.ndarray:
    """Cut an image into regions of like colour.

    Parameters
    ----------
    image
        (H, W, 3), uint8.

    Returns
    -------
    np.ndarray
        (H, W), uint8: 0 for regions along much of the border, which are taken for
        background, and a number from 1 on for each other region.
    """
    from skimage.segmentation import felzenszwalb

    smallest = max(1, round(SMALLEST_SHARE * image.shape[0] * image.shape[1]))
    regions = felzenszwalb(image, scale=SCALE, sigma=SMOOTHING, min_size=smallest)
    border = np.concatenate([regions[0], regions[-1], regions[1:-1, 0], regions[1:-1, -1]])
    shares = np.bincount(border, minlength=regions.max() + 1) / len(border)
    numbers = np.cumsum(shares < BORDER_SHARE)
    numbers[shares >= BORDER_SHARE] = 0
    return np.minimum(numbers, 255).astype(np.uint8)[regions]
