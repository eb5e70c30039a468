"""Layouts of TIFF files."""

import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.images import read_image
from tests.helpers.drawn_images import (
    GREEN,
    WHITE,
    assert_shows_four_squares,
    four_squares,
    message_of,
    ramp,
)


@pytest.mark.parametrize(
    "options",
    [
        {"bigtiff": True},
        {"byteorder": ">"},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd"},
        {"rowsperstrip": 7, "compression": "packbits"},
    ],
    ids=str,
)
def test_every_tiff_storage_gives_the_same_image(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", four_squares(), photometric="rgb", **options)
    assert_shows_four_squares(read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_jpeg_compressed_tiffs_show_their_colours(tmp_path, photometric):
    image = Image.fromarray(four_squares())
    image = image.convert("YCbCr") if photometric == "ycbcr" else image
    image.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    assert_shows_four_squares(read_image(tmp_path / "a.tif"), tolerance=8)


def test_uncompressed_ycbcr_tiffs_show_their_colours(tmp_path):
    Image.fromarray(four_squares()).convert("YCbCr").save(tmp_path / "a.tif")
    assert_shows_four_squares(read_image(tmp_path / "a.tif"), tolerance=3)


def test_tiffs_of_separate_colour_planes_are_read(tmp_path):
    planes = np.moveaxis(four_squares(), -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    assert_shows_four_squares(read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_min_is_white_turns_the_ramp_round(tmp_path, bits):
    dtype = bool if bits == 1 else np.uint16 if bits == 16 else np.uint8
    ink = ramp(np.float64, 0, 2**bits - 1).round().astype(dtype)
    options = {"bitspersample": bits} if bits == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", ink, photometric="miniswhite", **options)
    row = read_image(tmp_path / "a.tif")[0, :, 0]
    assert row[0] == 255
    assert row[-1] == 0
    assert (np.diff(row.astype(int)) <= 0).all()


def test_four_bit_grey_reaches_white(tmp_path):
    levels = np.tile(np.arange(16, dtype=np.uint8), (4, 1))
    tifffile.imwrite(tmp_path / "a.tif", levels, photometric="minisblack", bitspersample=4)
    assert (read_image(tmp_path / "a.tif")[..., 0] == np.linspace(0, 255, 16)).all()


@pytest.mark.parametrize("stack", ["plain", "imagej", "ome"])
def test_the_first_page_of_a_stack_is_read(tmp_path, stack):
    pages = np.stack([four_squares(), 255 - four_squares()])
    options = {"plain": {}, "imagej": {"imagej": True}, "ome": {"ome": True}}[stack]
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb", **options)
    assert_shows_four_squares(read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_three_channels_on_pages_of_their_own_are_red_green_and_blue(tmp_path, kind):
    first = np.moveaxis(four_squares(), -1, 0)
    time_lapse = np.stack([first, 255 - first])
    tifffile.imwrite(
        tmp_path / "a.tif",
        time_lapse,
        photometric="minisblack",
        metadata={"axes": "TCYX"},
        **{kind: True},
    )
    assert_shows_four_squares(read_image(tmp_path / "a.tif"))


def test_unmarked_channels_beyond_rgb_are_dropped(tmp_path):
    infrared = np.full((40, 64, 1), 99, np.uint8)
    five = np.concatenate([four_squares(), infrared, infrared], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", five, photometric="rgb")
    assert_shows_four_squares(read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_tiff_alpha_is_laid_on_white(tmp_path, kind):
    rgba = np.zeros((4, 4, 4), np.uint8)
    # 40 % opaque pure red, stored straight or multiplied with its alpha
    rgba[:2] = (255 if kind == "unassalpha" else 102, 0, 0, 102)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=[kind])
    rgb = read_image(tmp_path / "a.tif")
    assert (rgb[0] == (255, 153, 153)).all()
    assert (rgb[3] == WHITE).all()


def test_palette_tiffs_of_sixteen_bit_colours_are_read(tmp_path):
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 7] = np.multiply(GREEN, 257)
    tifffile.imwrite(
        tmp_path / "a.tif", np.full((4, 4), 7, np.uint8), photometric="palette", colormap=colormap
    )
    assert (read_image(tmp_path / "a.tif") == GREEN).all()


@pytest.mark.parametrize("count", [2, 4, 7])
@pytest.mark.parametrize("layout", ["samples", "ome"])
def test_channels_that_would_have_to_be_guessed_are_refused(tmp_path, count, layout):
    path = tmp_path / "a.tif"
    if layout == "samples":
        options = {"planarconfig": "contig"}
        values = np.zeros((20, 30, count), np.uint16)
    else:
        options = {"ome": True, "metadata": {"axes": "CYX"}}
        values = np.zeros((count, 20, 30), np.uint16)
    tifffile.imwrite(path, values, photometric="minisblack", **options)
    message = message_of(path)
    assert f"{count} bands" in message
    in_python = re.search(r"bands=\(([\d, ]+)\)", message)[1]
    bands = [int(number) for number in re.findall(r"\d+", in_python)]
    assert f"--bands {','.join(map(str, bands))}`" in message
    assert read_image(path, bands=bands).shape == (20, 30, 3)
