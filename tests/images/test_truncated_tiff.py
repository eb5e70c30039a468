"""TIFF files that are cut off anywhere: refused, or the same image as the whole file."""

import logging
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.errors import ImageError
from dinoiser.images import read_image, read_size
from dinoiser.images.large_tiff import open_large_tiff
from dinoiser.images.reading import read_with_missing
from tests.helpers.drawn_images import message_of
from tests.helpers.masked_tiff import write_with_mask

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PLANES = np.moveaxis(RGB, -1, 0)
STACK = np.stack([[PLANES, 255 - PLANES]] * 3)  # T, Z, C, Y, X
GREY = {"photometric": "minisblack"}


def described(path, array, **options):
    """Write an OME-TIFF whose metadata precede its pages, and are complete from the start."""
    tifffile.imwrite(path, array, ome=True, **GREY, metadata={"axes": "TZCYX"})
    with tifffile.TiffFile(path) as tiff:
        description = tiff.ome_metadata
    pages = array.reshape(-1, *array.shape[-2:])
    with tifffile.TiffWriter(path) as tiff:
        for i, page in enumerate(pages):
            text = description if i == 0 else None
            tiff.write(page, **GREY, description=text, metadata=None, **options)


def pyramid(path):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RGB, photometric="rgb", subifds=1, tile=(16, 16))
        tiff.write(RGB[::2, ::2].copy(), photometric="rgb", subfiletype=1, tile=(16, 16))


def copy_first(path, **options):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RGB[::2, ::2].copy(), photometric="rgb", subfiletype=1, metadata=None, **options)
        tiff.write(RGB, photometric="rgb", metadata=None)


def saved(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def in_pages(**options):
    return saved(STACK, **GREY, metadata={"axes": "TZCYX"}, **options)


KINDS = {
    "plain": saved(RGB, photometric="rgb"),
    "without metadata": saved(RGB, photometric="rgb", metadata=None),
    "strips": saved(RGB, photometric="rgb", rowsperstrip=7, compression="lzw"),
    "tiles": saved(RGB, photometric="rgb", tile=(16, 16), compression="zlib"),
    "jpeg": saved(RGB, photometric="ycbcr", tile=(16, 16), compression="jpeg"),
    "planes": saved(PLANES, photometric="rgb", planarconfig="separate"),
    "BigTIFF, big endian": saved(RGB, photometric="rgb", bigtiff=True, byteorder=">"),
    "palette": saved(
        RGB[..., 0],
        photometric="palette",
        colormap=np.arange(768, dtype=np.uint16).reshape(3, 256) * 80,
    ),
    "nodata": saved(
        RGB.astype(np.uint16), photometric="rgb", extratags=[(42113, "s", 0, str(RGB[0, 0, 0]), 1)]
    ),
    "mask": lambda path: write_with_mask(path, RGB, RGB[..., 0] > 99),
    "OME": in_pages(ome=True),
    "OME in tiles": in_pages(ome=True, tile=(16, 16), compression="zlib"),
    "OME, BigTIFF": in_pages(ome=True, bigtiff=True),
    "OME, described first": lambda path: described(path, STACK),
    "OME, RGB": saved(np.stack([RGB, RGB]), photometric="rgb", ome=True),
    "ImageJ": in_pages(imagej=True),
    "ImageJ, one page with tags": in_pages(imagej=True, truncate=True),
    "tifffile's own": in_pages(),
    "tifffile's own, one page with tags": in_pages(truncate=True),
    "stack": saved(np.stack([RGB, 255 - RGB]), photometric="rgb", metadata=None),
    "pyramid": pyramid,
    "reduced copy first": copy_first,
    "below its reduced copy": lambda path: copy_first(path, subifds=1),
}


@pytest.fixture(autouse=True)
def quiet():
    """Keep what tifffile logs about damage out of the test's output."""
    logging.getLogger("tifffile").disabled = True
    yield
    logging.getLogger("tifffile").disabled = False


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of each kind: the file's bytes, and how it looks."""
    path, files = tmp_path_factory.mktemp("whole") / "a.tif", {}
    for kind, write in KINDS.items():
        write(path)
        files[kind] = path.read_bytes(), read_with_missing(path)
    return files


def in_parts(path):
    with open_large_tiff(path) as tiff:
        rgb = tiff.pixels((16, 16)).compute(scheduler="synchronous")
        return rgb, tiff.missing(slice(0, 40), slice(0, 60))


def assert_same(found, whole):
    for part, expected in zip(found[:2], whole[:2], strict=True):
        np.testing.assert_array_equal(part, expected)


def check_cut(path, content, expected):
    path.write_bytes(content)
    for read in (read_with_missing, in_parts):
        with suppress(ImageError):
            assert_same(read(path), expected)
    assert read_size(path) in [(0, 0), (40, 60)]


@pytest.mark.filterwarnings("ignore")  # tifffile's
@given(st.data())
def test_a_file_that_is_cut_off_never_reads_as_another_image(whole, tmp_path_factory, data):
    content, expected = whole[data.draw(st.sampled_from(list(KINDS)))]
    # at the ends of files, where their structure is, or anywhere
    near = st.integers(0, min(600, len(content) - 1))
    length = data.draw(
        st.one_of(near, near.map(lambda n: len(content) - 1 - n), st.integers(0, len(content) - 1))
    )
    check_cut(tmp_path_factory.getbasetemp() / "cut.tif", content[:length], expected)


def test_half_an_ome_tiff_is_refused_in_every_way_of_reading_it(tmp_path, whole):
    content, _ = whole["OME"]
    path = tmp_path / "a.tif"
    path.write_bytes(content[: len(content) // 2])
    assert "the file is truncated" in message_of(path)
    with pytest.raises(ImageError, match="the file is truncated"):
        in_parts(path)
    assert read_size(path) == (0, 0)


def test_a_link_to_nowhere_after_the_pages_that_ome_metadata_list_is_no_harm(tmp_path, whole):
    # as raw2ometiff once wrote them
    _, expected = whole["OME, described first"]
    path = tmp_path / "a.tif"
    KINDS["OME, described first"](path)
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.next_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 4] = b"\xf0\xff\xff\xff"
    path.write_bytes(content)
    assert_same(read_with_missing(path), expected)
    assert_same(in_parts(path), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "one page" in kind])
def test_channels_that_follow_without_tags_are_red_green_and_blue(kind, tmp_path):
    path = tmp_path / "a.tif"
    KINDS[kind](path)
    np.testing.assert_array_equal(read_image(path), RGB)
    np.testing.assert_array_equal(in_parts(path)[0], RGB)
    np.testing.assert_array_equal(read_image(path, bands=(3, 1, 2)), RGB[..., [2, 0, 1]])
