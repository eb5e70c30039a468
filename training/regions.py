"""Divide any image into segments without a network: neighbouring pixels that look alike."""

from __future__ import annotations

import numpy as np

from dinoiser.labels import IGNORE

SCALE = 300
"""Larger values give larger regions."""
SMOOTHING = 2.0  # sigma of the blur beforehand, in pixels
SMALLEST_SHARE = 1 / 200
"""Regions smaller than this share of the image are merged with their neighbours."""
BORDER_SHARE = 0.05
"""A region that covers this share of the image's border is background."""


def find_regions(image: np.ndarray) -> np.ndarray:
    """Divide an image into regions of similar colour.

    Parameters
    ----------
    image
        (H, W, 3), uint8.

    Returns
    -------
    np.ndarray
        (H, W), uint8: 0 for regions that cover much of the border, which count as
        background, and a number from 1 to 254 for each other region.
    """
    from skimage.segmentation import felzenszwalb

    smallest = max(1, round(SMALLEST_SHARE * image.shape[0] * image.shape[1]))
    regions = felzenszwalb(image, scale=SCALE, sigma=SMOOTHING, min_size=smallest)
    # share of the border that each region covers
    border = np.concatenate([regions[0], regions[-1], regions[1:-1, 0], regions[1:-1, -1]])
    shares = np.bincount(border, minlength=regions.max() + 1) / len(border)
    # number the other regions consecutively; beyond 254 they share the last number
    numbers = np.cumsum(shares < BORDER_SHARE)
    numbers[shares >= BORDER_SHARE] = 0
    return np.minimum(numbers, IGNORE - 1).astype(np.uint8)[regions]
