"""Pixels without data, declared by a TIFF file or not."""

import warnings

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.images import read_image
from dinoiser.images.reading import read_with_missing
from dinoiser.images.settings import ReadSettings
from tests.helpers.drawn_images import random_squares
from tests.helpers.masked_tiff import write_with_mask

LOWEST = float(np.finfo(np.float32).min)
KINDS = {
    "uint8": (lambda rgb: rgb, 0),
    "uint16": (lambda rgb: rgb.astype(np.uint16) * 16, 65535),
    "uint16 at 0": (lambda rgb: rgb.astype(np.uint16) * 16 + 1000, 0),
    "int16": (lambda rgb: rgb.astype(np.int16) * 16, -32768),
    "float": (lambda rgb: (rgb / 255 * 1000).astype(np.float32), -9999),
    "float in 0..1": (lambda rgb: (rgb / 255).astype(np.float32), -9999),
    "lowest float": (lambda rgb: (rgb / 255 * 1000).astype(np.float32), LOWEST),
    "NaN": (lambda rgb: (rgb / 255 * 1000).astype(np.float32), np.nan),
    "NaN in 0..1": (lambda rgb: (rgb / 255).astype(np.float32), np.nan),
}
DEEP = [kind for kind, (_, value) in KINDS.items() if kind != "uint8" and not np.isnan(value)]


def deep_image(kind, side=60):
    """An image of 200 x 200 pixels, of which the top left ones have no data."""
    change, value = KINDS[kind]
    image = change(random_squares(200, 200))
    image[:side, :side] = value
    return image, value


def write(path, image, value=None, **options):
    tags = [] if value is None else [(42113, "s", 0, str(value), True)]
    options = {"photometric": "rgb", "extratags": tags} | options
    tifffile.imwrite(path, image, **options)
    return path


@pytest.mark.parametrize("side", [20, 60])
@pytest.mark.parametrize("kind", KINDS)
def test_missing_data_does_not_change_how_the_rest_looks(kind, side, tmp_path):
    image, value = deep_image(kind, side)
    found = read_with_missing(write(tmp_path / "a.tif", image, value))
    valid = write(tmp_path / "valid.tif", np.ascontiguousarray(image[side:]))
    difference = np.abs(found.rgb[side:].astype(int) - read_image(valid))
    assert difference.max() <= 1
    expected = np.zeros((200, 200), bool)
    expected[:side, :side] = True
    np.testing.assert_array_equal(found.missing, expected)
    assert found.warning is None


@pytest.mark.parametrize("kind", DEEP)
def test_missing_data_that_is_not_declared_is_named_with_the_cure(kind, tmp_path):
    image, value = deep_image(kind)
    path = write(tmp_path / "a.tif", image)
    with pytest.warns(UserWarning, match="nodata") as caught:
        read_image(path)
    message = str(caught[0].message)
    assert str(path) in message
    named = message.split("nodata=")[1].split()[0]
    assert np.float32(named) == np.float32(value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cured = read_image(path, nodata=value)
    np.testing.assert_array_equal(cured, read_image(write(tmp_path / "b.tif", image, value)))


def test_black_and_overexposed_regions_are_not_taken_for_missing_data(tmp_path):
    ramp = np.broadcast_to(np.arange(200)[:, None, None] * 400, (200, 200, 3))
    image = (ramp - 5000).clip(0, 65535).astype(np.uint16)
    assert (image == 0).mean() > 0.05
    assert (image == 65535).mean() > 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(write(tmp_path / "a.tif", image))


def test_a_pixel_with_data_in_one_channel_has_data(tmp_path):
    image, _ = deep_image("int16")
    image[100, 100] = (-32768, 500, -32768)
    found = read_with_missing(write(tmp_path / "a.tif", image, -32768))
    assert found.missing[0, 0]
    assert not found.missing[100, 100]


@pytest.mark.parametrize("tag", ["none", "", "70000", "-1", "0.5"])
def test_values_that_no_pixel_can_have_mean_nothing(tag, tmp_path):
    image = random_squares(200, 200).astype(np.uint16) * 16
    found = read_with_missing(write(tmp_path / "a.tif", image, tag))
    np.testing.assert_array_equal(found.rgb, read_image(write(tmp_path / "b.tif", image)))
    assert found.missing is None


@pytest.mark.parametrize("stored", ["white is zero", "planes", "turned", "alpha", "palette"])
def test_missing_pixels_are_found_however_an_image_is_stored(stored, tmp_path):
    grey = random_squares(80, 120)[..., 0] // 2 + 1
    grey[:30, :10] = 0
    missing, path, tags = grey == 0, tmp_path / "a.tif", [(42113, "s", 0, "0", True)]
    if stored == "white is zero":
        write(path, grey, 0, photometric="miniswhite")
    elif stored == "planes":
        planes = np.stack([grey] * 3)
        write(path, planes, 0, photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    elif stored == "turned":
        write(path, grey, photometric="minisblack", extratags=[*tags, (274, 3, 1, 6, True)])
        missing = np.rot90(missing, -1)
    elif stored == "alpha":
        rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
        write(path, rgba, 0, extrasamples=["unassalpha"])
    else:
        colors = np.arange(3 * 256, dtype=np.uint16).reshape(3, 256)
        write(path, grey, 0, photometric="palette", colormap=colors)
    np.testing.assert_array_equal(read_with_missing(path).missing, missing)


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_pixels_that_the_mask_within_a_file_leaves_out_are_missing(kind, turn, tmp_path):
    image, _ = deep_image(kind)
    path, valid = tmp_path / "a.tif", np.ones((200, 200), bool)
    valid[:60, :60] = False
    write_with_mask(path, image, valid, turn)
    found = read_with_missing(path)
    np.testing.assert_array_equal(found.missing, np.rot90(~valid, -1 if turn == 6 else 0))
    # what lies under the mask does not change how the rest looks
    rest = write(tmp_path / "rest.tif", np.ascontiguousarray(image[60:]))
    upright = np.rot90(found.rgb, 1 if turn == 6 else 0)
    assert np.abs(upright[60:].astype(int) - read_image(rest)).max() <= 1


def test_a_mask_of_another_size_or_of_a_later_page_is_none_of_the_first_image(tmp_path):
    image, _ = deep_image("uint8")
    path, valid = tmp_path / "a.tif", np.zeros((200, 200), bool)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, photometric="rgb", metadata=None)
        tiff.write(valid[:100, :100], photometric="mask", subfiletype=4, metadata=None)
        tiff.write(image, photometric="rgb", metadata=None)
        tiff.write(valid, photometric="mask", subfiletype=4, metadata=None)
    assert read_with_missing(path).missing is None


ALPHA_STORED = ["uint8", "uint16", "float", "float with NaN", "associated", "planes", "0 is white"]


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("stored", ALPHA_STORED)
def test_fully_transparent_pixels_of_tiffs_are_missing(stored, turn, tmp_path):
    rgb, path = random_squares(200, 200), tmp_path / "a.tif"
    rgb[:, -5:], rgb[:, -10:-5] = 0, 255
    alpha = np.full((200, 200), 255, np.uint8)
    alpha[:60, :60], alpha[:60, 60:70] = 0, 51  # around the mosaic, and a soft edge
    expected = np.where(alpha[..., None] == 51, 204 + rgb // 5, rgb)
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    rgba = np.dstack([rgb, alpha])
    if stored == "uint16":
        rgba = rgba.astype(np.uint16) * 257
    elif stored.startswith("float"):
        rgba = (rgba / 255).astype(np.float32)
        rgba[:60, :60, 3] = np.nan if stored.endswith("NaN") else 0
    elif stored == "associated":
        rgba[..., :3] = (rgb * (alpha[..., None] / 255)).round()
        options["extrasamples"] = ["assocalpha"]
    elif stored == "planes":
        rgba = np.moveaxis(rgba, -1, 0)
        options["planarconfig"] = "separate"
    elif stored == "0 is white":
        rgba = np.dstack([255 - rgb[..., 0], alpha])
        expected = expected[..., [0, 0, 0]]
        options |= {"photometric": "miniswhite", "planarconfig": "contig"}
    tifffile.imwrite(path, rgba, **options, extratags=[(274, 3, 1, turn, True)])
    found = read_with_missing(path)
    back = 1 if turn == 6 else 0
    np.testing.assert_array_equal(np.rot90(found.missing, back), alpha == 0)
    # the soft edge is laid on white; colours divided by their alpha are rounded
    seen, limit = np.rot90(found.rgb, back)[alpha > 0].astype(int), 1 + (stored == "associated")
    assert np.abs(seen - expected[alpha > 0]).max() <= limit
    assert found.warning is None


def test_alpha_and_nodata_add_up(tmp_path):
    image, _ = deep_image("uint16")
    alpha = np.full((200, 200), 65535, np.uint16)
    alpha[100:] = 0
    path = write(tmp_path / "a.tif", np.dstack([image, alpha]), 65535, extrasamples=["unassalpha"])
    expected = alpha == 0
    expected[:60, :60] = True
    np.testing.assert_array_equal(read_with_missing(path).missing, expected)


def test_alpha_that_is_chosen_as_a_colour_takes_no_pixel_out(tmp_path):
    rgba = np.dstack([random_squares(200, 200), np.zeros((200, 200), np.uint8)])
    path = write(tmp_path / "a.tif", rgba, extrasamples=["unassalpha"])
    assert read_with_missing(path).missing.all()
    assert read_with_missing(path, ReadSettings(bands=(4, 2, 1))).missing is None
    five = np.dstack([rgba[..., :3], rgba[..., :1], rgba[..., 3]])
    write(path, five, extrasamples=["unspecified", "unassalpha"])
    assert read_with_missing(path, ReadSettings(bands=(5, 2, 1))).missing is None
    assert read_with_missing(path, ReadSettings(bands=(3, 2, 1))).missing.all()


@pytest.mark.parametrize("name", ["a.png", "a.webp", "16-bit.png"])
def test_transparent_pixels_of_other_files_are_labelled_with_the_rest(name, tmp_path):
    rgba = np.dstack([random_squares(200, 200), np.zeros((200, 200), np.uint8)])
    if name == "16-bit.png":
        (tmp_path / name).write_bytes(imagecodecs.png_encode(rgba.astype(np.uint16) * 257))
    else:
        Image.fromarray(rgba).save(tmp_path / name)
    found = read_with_missing(tmp_path / name)
    assert found.missing is None
    assert (found.rgb == 255).all()
