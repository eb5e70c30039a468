"""The same scenes twice: as plain images, and as bands of images that say less of themselves."""

import numpy as np
import tifffile

from dinoiser.scenes import draw_scene
from dinoiser.scenes.drawing import OTHER_COLORS

NODATA = 9
BANDS = (4, 3, 2)
READING = {"nodata": NODATA, "bands": BANDS}
"""What makes the images with four bands look like the plain ones."""


def draw_twice(folder, count, size=(224, 224)):
    """Draw scenes of 16 bits, with a corner without data.

    `plain` holds RGB files that declare it; `banded` files of four bands, of which the first
    is noise and the others are blue, green and red, that declare nothing. Returns the folders, and
    the true masks by stem.
    """
    plain, banded, truth = folder / "plain", folder / "banded", {}
    plain.mkdir(parents=True)
    banded.mkdir()
    for i in range(count):
        rng = np.random.default_rng((7, i))
        scene = draw_scene(rng, size, colors=OTHER_COLORS)
        rgb = scene.image.astype(np.uint16) * 16 + 100
        rgb[:50, :70] = NODATA
        noise = rng.integers(0, 2**16, size, np.uint16)
        declared = [(42113, "s", 0, str(NODATA), True)]
        tifffile.imwrite(plain / f"{i}.tif", rgb, photometric="rgb", extratags=declared)
        four = np.dstack([noise, rgb[..., ::-1]])
        tifffile.imwrite(banded / f"{i}.tif", four, photometric="minisblack", planarconfig="contig")
        ids = [1 + OTHER_COLORS.index(name.split(" ", 1)[0]) for name in scene.names]
        truth[str(i)] = np.array([0, *ids], np.uint8)[scene.labels]
    return plain, banded, truth
