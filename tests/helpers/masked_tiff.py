"""TIFF files with a mask within them, as GDAL writes them."""

import tifffile


def write_with_mask(path, image, valid, turn=1, **options):
    """Write an image (H, W, 3), a reduced copy, and which of its pixels (H, W) hold data."""
    turned = [(274, "H", 1, turn, True)]
    with tifffile.TiffWriter(path) as tiff:
        kind = {"photometric": "rgb", "metadata": None} | options
        tiff.write(image, extratags=turned, **kind)
        tiff.write(image[::2, ::2].copy(), subfiletype=1, **kind)
        # at half size, too, and each in strips of a few rows
        for pixels, what in ((valid[::2, ::2], 5), (valid, 4)):
            tiff.write(
                pixels,
                photometric="mask",
                subfiletype=what,
                compression="zlib",
                rowsperstrip=32,
                metadata=None,
            )
