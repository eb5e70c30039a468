"""Formats beyond JPEG, PNG and TIFF, and files that are no images but often lie beside them."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.images import read_image, read_size
from dinoiser.images.inputs import find_images
from tests.helpers.drawn_images import (
    assert_is_grey_ramp,
    assert_shows_four_squares,
    four_squares,
    message_of,
    ramp,
)


def with_pillow(kind, **options):
    return lambda path: Image.fromarray(four_squares()).save(path, kind, **options)


def with_codec(encode, **options):
    return lambda path: path.write_bytes(encode(four_squares(), **options))


def big_tiff(path):
    tifffile.imwrite(path, four_squares(), photometric="rgb", bigtiff=True)


FILES = {
    "a.mpo": with_pillow("MPO", quality=95),
    "a.apng": with_pillow(
        "PNG", save_all=True, append_images=[Image.new("RGB", (64, 40))], default_image=False
    ),
    "a.btf": big_tiff,
    "a.tf8": big_tiff,
    "a.ppm": with_pillow("PPM"),
    "a.dib": with_pillow("DIB"),
    "a.jp2": with_codec(imagecodecs.jpeg2k_encode, level=0),
    "a.j2k": with_codec(imagecodecs.jpeg2k_encode, level=0, codecformat="j2k"),
    "a.jxl": with_codec(imagecodecs.jpegxl_encode, lossless=True),
    "boxed.jxl": with_codec(imagecodecs.jpegxl_encode, lossless=True, usecontainer=True),
}


@pytest.mark.parametrize("name", FILES)
def test_more_formats_are_found_and_read_whatever_their_names(name, tmp_path):
    FILES[name](tmp_path / name)
    [found] = find_images(tmp_path)
    assert found.name == name
    other = (tmp_path / name).rename(tmp_path / "other.jpg")
    assert_shows_four_squares(read_image(other), tolerance=8 if "mpo" in name else 0)
    assert read_size(other) == (40, 64)


@pytest.mark.parametrize("name", FILES)
def test_they_are_refused_before_decoding_if_they_are_too_large(name, tmp_path):
    FILES[name](tmp_path / name)
    message = message_of(tmp_path / name, max_pixels=64 * 40 - 1)
    assert "64 x 40 = 2,560 pixels" in message
    data = (tmp_path / name).read_bytes()
    # the header alone decides: what follows need not even be there
    (tmp_path / name).write_bytes(data[:-20])
    if not name.endswith((".btf", ".tf8")):  # a TIFF's header is at its end
        assert "64 x 40" in message_of(tmp_path / name, max_pixels=100)


@pytest.mark.parametrize("name", [name for name in FILES if name[-3:] in ("jp2", "j2k", "jxl")])
def test_half_a_file_is_no_image(name, tmp_path):
    FILES[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    assert "cannot be decoded" in message_of(tmp_path / name)


@pytest.mark.parametrize("suffix", ["pgm", "pbm"])
def test_grey_and_black_and_white_pnm(suffix, tmp_path):
    grey = ramp(np.float64, 0, 255).round().astype(np.uint8)
    image = Image.fromarray(grey if suffix == "pgm" else grey > 127)
    image.save(tmp_path / f"a.{suffix}", "PPM")
    if suffix == "pgm":
        assert_is_grey_ramp(read_image(tmp_path / "a.pgm"))
    else:
        assert set(np.unique(read_image(tmp_path / "a.pbm"))) == {0, 255}
    assert len(find_images(tmp_path)) == 1


@pytest.mark.parametrize("name", ["a.jp2", "a.jxl"])
def test_all_bits_of_deep_images_count(name, tmp_path):
    deep = ramp(np.float64, 300, 800).round().astype(np.uint16)
    encode = imagecodecs.jpeg2k_encode if "jp2" in name else imagecodecs.jpegxl_encode
    lossless = {"level": 0} if "jp2" in name else {"lossless": True}
    (tmp_path / name).write_bytes(encode(deep, **lossless))
    assert_is_grey_ramp(read_image(tmp_path / name))


@pytest.mark.parametrize("size", [(8, 8), (256, 384), (1, 1000), (600, 9), (37, 74)])
def test_sizes_of_jpeg_xl_are_read_from_the_header(size, tmp_path):
    pixels = np.zeros((*size, 3), np.uint8)
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels))
    assert read_size(tmp_path / "a.jxl") == size


@pytest.mark.parametrize(
    ("name", "data", "called", "cure"),
    [
        ("a.dcm", bytes(128) + b"DICM" + bytes(300), "a DICOM file", "pydicom"),
        ("a.czi", b"ZISRAWFILE" + bytes(300), "a CZI file", "ZEN"),
        ("a.nii", b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(9), "a NIfTI file", "nibabel"),
        ("a.vrt", b'<VRTDataset rasterXSize="5">', "a GDAL virtual raster (VRT)", "gdal_translate"),
        ("a.hdr", b"ENVI\nsamples = 5\nlines = 5\n", "the header of an ENVI image", "GDAL"),
        ("a.img", b"EHFA_HEADER_TAG\0" + bytes(99), "an ERDAS Imagine file", "gdal_translate"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 or netCDF file", "QGIS"),
        ("a.nc", b"CDF\x02" + bytes(99), "an HDF5 or netCDF file", "QGIS"),
        ("a.nii.gz", b"\x1f\x8b\x08" + bytes(300), "NIfTI", "nibabel"),
        ("a.nd2", b"\xda\xce\xbe\x0a" + bytes(300), "an ND2 file", "NIS-Elements"),
        ("a.lif", b"\x70\0\0\0\x10\x20\0\0\x2a" + bytes(300), "a LIF file", "LAS X"),
        ("a.zip", b"PK\x03\x04" + bytes(300), "a ZIP file", "unpack it"),
    ],
)
def test_other_files_are_called_what_they_are_with_what_to_do(name, data, called, cure, tmp_path):
    (tmp_path / name).write_bytes(data)
    message = message_of(tmp_path / name)
    assert called in message
    assert cure in message
