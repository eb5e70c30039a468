"""TIFF files that begin with a reduced copy of their image: the image itself is read."""

import numpy as np
import pytest
import tifffile

from dinoiser.images import read_image, read_size
from dinoiser.images.large_tiff import is_large_tiff, open_large_tiff
from dinoiser.images.reading import is_rare_tiff, read_with_missing
from tests.helpers.drawn_images import message_of

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMALL = RGB[::4, ::4].copy()


def write(path, *pages, **options):
    """Write pages and the kind (NewSubfileType) of each."""
    with tifffile.TiffWriter(path) as tiff:
        for pixels, kind in pages:
            is_mask = pixels.dtype == bool
            color = "mask" if is_mask else "rgb"
            tiff.write(pixels, **{"photometric": color, "subfiletype": kind} | options)
    return path


def in_parts(path):
    with open_large_tiff(path) as tiff:
        rgb = tiff.pixels((16, 16)).compute(scheduler="synchronous")
        return rgb, tiff.missing(slice(0, 40), slice(0, 60))


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"tile": (16, 16)}], ids=str)
@pytest.mark.parametrize("more", [(), ((RGB[::2, ::2].copy(), 1),), ((255 - RGB, 0),)])
def test_the_image_is_read_and_not_its_copy(options, more, tmp_path):
    path = write(tmp_path / "a.tif", (SMALL, 1), (RGB, 0), *more, **options)
    np.testing.assert_array_equal(read_image(path), RGB)
    np.testing.assert_array_equal(in_parts(path)[0], RGB)
    assert read_size(path) == (40, 60)


def test_a_large_one_counts_as_large(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", (SMALL, 1), (RGB, 0))
    monkeypatch.setattr("dinoiser.images.large_tiff.LARGE_PIXELS", 1000)
    assert is_large_tiff(path)


def test_the_image_in_the_copys_sub_pages_is_read(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(SMALL, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        tiff.write(RGB, photometric="rgb", metadata=None)
    np.testing.assert_array_equal(read_image(path), RGB)
    np.testing.assert_array_equal(in_parts(path)[0], RGB)


def test_the_mask_after_the_image_counts(tmp_path):
    valid = RGB[..., 0] > 99
    pages = (SMALL, 1), (valid[::4, ::4], 5), (RGB, 0), (valid, 4)
    path = write(tmp_path / "a.tif", *pages, metadata=None)
    for found in (read_with_missing(path), in_parts(path)):
        np.testing.assert_array_equal(found[0], RGB)
        np.testing.assert_array_equal(found[1], ~valid)


def test_a_copy_alone_is_the_image(tmp_path):
    path = write(tmp_path / "a.tif", (SMALL, 1))
    np.testing.assert_array_equal(read_image(path), SMALL)


def test_colours_that_are_not_read_after_a_copy_are_named(tmp_path):
    # as raw photographs (DNG) are: a small picture, and what the sensor saw
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(SMALL, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        tiff.write(
            RGB[..., 0],
            photometric="cfa",
            metadata=None,
            extratags=[(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)],
        )
    assert "begins with a reduced copy of its image" in message_of(path)
    assert "CFA" in message_of(path)


def test_data_sets_get_a_copy_as_their_readers_would_read_the_small_one(tmp_path):
    assert is_rare_tiff(write(tmp_path / "a.tif", (SMALL, 1), (RGB, 0)))
    assert not is_rare_tiff(write(tmp_path / "b.tif", (RGB, 0), (SMALL, 1)))
