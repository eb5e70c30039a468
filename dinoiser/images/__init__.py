"""Any image file or array -> RGB array (H, W, 3) uint8, and the images that paths stand for."""

from dinoiser.images.arrays import to_rgb
from dinoiser.images.reading import read_image, read_labelled_image, read_size

__all__ = ["read_image", "read_labelled_image", "read_size", "to_rgb"]
