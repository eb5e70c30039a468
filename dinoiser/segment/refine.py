"""Superpixel refinement: patch-sized edges snapped to the edges of the image."""

from __future__ import annotations

import numpy as np


def snap_to_superpixels(
    probabilities: np.ndarray, image: np.ndarray, superpixel_side: float
) -> np.ndarray:
    """Average probabilities over the superpixels of an image.

    Parameters
    ----------
    probabilities
        (K, H, W) float32.
    image
        (H, W, 3) uint8 RGB.
    superpixel_side
        Side of an average superpixel, in pixels.

    Returns
    -------
    ndarray
        (K, H, W) float32, constant within each superpixel.

    References
    ----------
    Achanta et al., SLIC Superpixels Compared to State-of-the-art Superpixel
    Methods, TPAMI 2012; scikit-image's implementation.
    """
    from skimage.segmentation import slic

    count = max(1, round(image.shape[0] * image.shape[1] / superpixel_side**2))
    segments = slic(image, n_segments=count, compactness=10.0, start_label=0, channel_axis=-1)
    flat = segments.ravel()
    sizes = np.bincount(flat)
    means = [np.bincount(flat, weights=channel.ravel()) / sizes for channel in probabilities]
    return np.stack([mean.astype(np.float32)[segments] for mean in means])
