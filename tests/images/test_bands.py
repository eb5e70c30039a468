"""Images of which bands are chosen: the same as a copy that holds only these."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.errors import ImageError, SettingsError
from dinoiser.images import read_image
from dinoiser.images.large_tiff import is_large_tiff, open_large_tiff
from dinoiser.images.reading import read_with_missing
from dinoiser.images.settings import ReadSettings
from tests.helpers.drawn_images import message_of, random_squares
from tests.helpers.masked_tiff import write_with_mask

CHOICES = [(4, 3, 2), (1, 1, 5), (5, 1, 3), (2,)]
TYPES = {
    "uint8": lambda bands: bands,
    "uint16": lambda bands: bands.astype(np.uint16) * 16 + 7,
    "int32": lambda bands: bands.astype(np.int32) * 1000 - 70_000,
    "float": lambda bands: bands.astype(np.float32) * 3 + 100,
    "float in 0..1": lambda bands: (bands / 256).astype(np.float32),
}
GREY = {"photometric": "minisblack"}
PLANES = GREY | {"planarconfig": "separate"}
PAGES = GREY | {"ome": True, "metadata": {"axes": "CYX"}}
TILES = {"tile": (64, 48), "compression": "zlib"}
LAYOUTS = {
    "interleaved": GREY | {"planarconfig": "contig"},
    "interleaved tiles": GREY | TILES | {"planarconfig": "contig"},
    "planes": PLANES,
    "planes in tiles": PLANES | TILES,
    "planes in strips": PLANES | {"rowsperstrip": 17, "compression": "zlib"},
    "pages": PAGES,
    "pages in tiles": PAGES | TILES,
    "BigTIFF, big endian": GREY | {"planarconfig": "contig", "bigtiff": True, "byteorder": ">"},
    "turned": GREY | {"planarconfig": "contig", "extratags": [(274, 3, 1, 6, True)]},
    "0 is white": {"photometric": "miniswhite", "planarconfig": "contig"},
    "calls itself RGB": {"photometric": "rgb", "planarconfig": "contig"},
}


def five_bands(height=100, width=150):
    """Bands (H, W, 5) of different ranges: one that is stretched with others looks different."""
    coarse = np.random.default_rng(5).integers(0, 256, (height // 10, width // 10, 5))
    fine = coarse.repeat(10, 0).repeat(10, 1)
    return (fine // np.arange(1, 6)).astype(np.uint8)


def write(path, bands, options):
    """Write (H, W, C), channels first where the layout has them so."""
    first = options.get("planarconfig") == "separate" or "ome" in options
    tifffile.imwrite(path, np.moveaxis(bands, -1, 0) if first else bands, **options)
    return path


def read_in_parts(path, reading):
    with open_large_tiff(path, reading) as tiff:
        return tiff.pixels((40, 40)).compute(scheduler="threads")


@pytest.mark.parametrize("chosen", CHOICES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", TYPES)
def test_chosen_bands_are_those_of_a_copy_that_has_only_these(kind, layout, chosen, tmp_path):
    bands, options = TYPES[kind](five_bands()), LAYOUTS[layout]
    path = write(tmp_path / "all.tif", bands, options)
    only = np.squeeze(bands[..., [band - 1 for band in chosen]])
    white = layout == "0 is white"
    copied = {"photometric": "miniswhite" if white else "rgb" if only.ndim == 3 else "minisblack"}
    copied |= {"planarconfig": "contig"} if only.ndim == 3 else {}
    tifffile.imwrite(tmp_path / "copy.tif", only, **copied, extratags=options.get("extratags", ()))
    found, expected = read_image(path, bands=chosen), read_image(tmp_path / "copy.tif")
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(found, expected)
    if not kind.startswith("float"):  # which can only be read as a whole
        np.testing.assert_array_equal(read_in_parts(path, ReadSettings(bands=chosen)), expected)


def test_without_a_choice_the_first_three_of_rgb_stay(tmp_path):
    path = write(tmp_path / "a.tif", five_bands(), LAYOUTS["calls itself RGB"])
    np.testing.assert_array_equal(read_image(path), five_bands()[..., :3])


@pytest.mark.parametrize("chosen", CHOICES, ids=str)
@pytest.mark.parametrize("layout", ["planes in tiles", "planes in strips"])
def test_planes_that_are_not_chosen_are_not_decoded(layout, chosen, tmp_path):
    path = write(tmp_path / "a.tif", five_bands(), LAYOUTS[layout])
    expected = read_image(path, bands=chosen)
    with tifffile.TiffFile(path) as tiff:
        places = list(zip(tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts, strict=True))
    content, each = bytearray(path.read_bytes()), len(places) // 5
    for number, (start, length) in enumerate(places):
        if 1 + number // each not in chosen:
            content[start : start + length] = b"\xff" * length  # what zlib refuses
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path, bands=chosen), expected)
    with pytest.raises(ImageError):
        read_image(path, bands=next((b,) for b in range(1, 6) if b not in chosen))


@pytest.mark.parametrize("bands", [(3, 3, 2), (2,)])
def test_a_palette_stored_as_a_plane_has_the_bands_of_its_colours(bands, tmp_path):
    colors = np.random.default_rng(0).integers(0, 2**16, (3, 256), np.uint16)
    values = five_bands()[..., 0]
    options = {"photometric": "palette", "colormap": colors, "compression": "zlib"}
    tifffile.imwrite(tmp_path / "a.tif", values, **options, planarconfig="separate")
    expected = (colors >> 8).astype(np.uint8)[[band - 1 for band in bands]][:, values]
    found = read_image(tmp_path / "a.tif", bands=bands)
    np.testing.assert_array_equal(found, np.broadcast_to(np.moveaxis(expected, 0, -1), found.shape))


class TestMissing:
    def test_a_pixel_without_data_in_the_chosen_bands_is_missing(self, tmp_path):
        bands = TYPES["int32"](five_bands())
        bands[:20, :30, 1:4] = -9999
        bands[50:, :, 0] = -9999
        path = write(tmp_path / "a.tif", bands, LAYOUTS["planes"])
        reading = ReadSettings(-9999, (4, 3, 2))
        found = read_with_missing(path, reading)
        expected = np.zeros(bands.shape[:2], bool)
        expected[:20, :30] = True
        np.testing.assert_array_equal(found.missing, expected)
        assert found.warning is None
        np.testing.assert_array_equal(read_in_parts(path, reading), found.rgb)

    def test_the_mask_within_a_file_counts(self, tmp_path):
        bands, valid = TYPES["uint16"](five_bands()), np.ones((100, 150), bool)
        valid[:20, :30] = False
        path, options = tmp_path / "a.tif", {"photometric": "minisblack", "planarconfig": "contig"}
        write_with_mask(path, bands, valid, 1, **options)
        reading = ReadSettings(bands=(4, 3, 2))
        found = read_with_missing(path, reading)
        np.testing.assert_array_equal(found.missing, ~valid)
        np.testing.assert_array_equal(read_in_parts(path, reading), found.rgb)


class TestAlpha:
    @staticmethod
    def write(folder, count, **options):
        """Bands, of which the last is marked as alpha; above, it is 0."""
        bands = five_bands()[..., :count].copy()
        bands[:30, :, -1], bands[30:, :, -1] = 0, 255
        kind = "rgb" if count > 3 else "minisblack"
        extra = [0] * (count - (4 if count > 3 else 2)) + ["unassalpha"]
        options = {"photometric": kind, "extrasamples": extra, "planarconfig": "contig"} | options
        tifffile.imwrite(folder / "a.tif", bands, **options)
        return folder / "a.tif"

    @pytest.mark.parametrize("chosen", [(3, 2, 1), (2,), (4, 1, 1)])
    def test_one_that_is_not_chosen_makes_transparent(self, tmp_path, chosen):
        rgb = read_image(self.write(tmp_path, 5), bands=chosen)
        assert (rgb[:30] == 255).all()
        only = five_bands()[30:][..., [band - 1 for band in chosen]]
        np.testing.assert_array_equal(rgb[30:], np.broadcast_to(only, rgb[30:].shape))

    @pytest.mark.parametrize("count", [4, 5])
    def test_one_that_is_chosen_is_a_colour(self, tmp_path, count):
        rgb = read_image(self.write(tmp_path, count), bands=(count, 3, 2))
        np.testing.assert_array_equal(rgb[..., 1:], five_bands()[..., [2, 1]])
        assert (rgb[:30, :, 0] == 0).all()

    @pytest.mark.parametrize(("count", "chosen"), [(4, (3, 2, 1)), (4, (2,)), (2, (1,))], ids=str)
    @pytest.mark.parametrize("tiles", [{}, TILES], ids=["strips", "tiles"])
    def test_the_last_of_up_to_four_is_none_once_bands_are_chosen(
        self, tmp_path, count, chosen, tiles
    ):
        """GDAL calls the near-infrared band of four alpha; it is 0 over water."""
        path, reading = self.write(tmp_path, count, **tiles), ReadSettings(bands=chosen)
        assert read_with_missing(path).missing[:30].all()
        found = read_with_missing(path, reading)
        assert found.missing is None
        only = five_bands()[..., [band - 1 for band in chosen]]
        np.testing.assert_array_equal(found.rgb, np.broadcast_to(only, found.rgb.shape))
        np.testing.assert_array_equal(read_in_parts(path, reading), found.rgb)
        with open_large_tiff(path, reading) as tiff:
            assert tiff.missing(slice(0, 100), slice(0, 150)) is None

    @pytest.mark.parametrize("depth", [np.uint8, np.uint16])
    def test_near_infrared_that_is_marked_as_alpha_is_told(self, tmp_path, depth):
        bands = five_bands()[..., :4].astype(depth)
        bands[:30, :, 3] = 0  # water
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, bands, photometric="rgb", extrasamples=["unassalpha"], **TILES)
        warnings = [read_with_missing(path).warning]
        if depth == np.uint8:
            with open_large_tiff(path) as tiff:
                tiff.pixels((50, 50))
                warnings.append(tiff.warning)
        for warning in warnings:
            assert "of the pixels are partly transparent" in warning
            assert "--bands 1,2,3" in warning
        assert read_with_missing(path, ReadSettings(bands=(1, 2, 3))).warning is None

    def test_a_picture_with_soft_edges_is_not(self, tmp_path):
        path = self.write(tmp_path, 4)
        bands = tifffile.imread(path)
        bands[30:50, :, 3] = 120
        tifffile.imwrite(path, bands, photometric="rgb", extrasamples=["unassalpha"])
        with open_large_tiff(path) as tiff:
            tiff.pixels((50, 50))
            assert tiff.warning is read_with_missing(path).warning is None

    def test_nor_is_it_in_other_files(self, tmp_path):
        rgba = five_bands()[..., :4]
        (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(rgba, level=0))
        Image.fromarray(rgba).save(tmp_path / "a.png")
        for path in tmp_path.iterdir():
            found = read_image(path, bands=(3, 2, 1))
            np.testing.assert_array_equal(found, rgba[..., [2, 1, 0]])


OTHERS = {
    "png": lambda rgb, path: Image.fromarray(rgb).save(path),
    "tif": lambda rgb, path: tifffile.imwrite(path, rgb, photometric="rgb"),
    "bmp": lambda rgb, path: Image.fromarray(rgb).save(path),
    "16-bit.png": lambda rgb, path: path.write_bytes(
        imagecodecs.png_encode(rgb.astype(np.uint16) * 257)
    ),
    "jxl": lambda rgb, path: path.write_bytes(imagecodecs.jpegxl_encode(rgb, lossless=True)),
    "jp2": lambda rgb, path: path.write_bytes(imagecodecs.jpeg2k_encode(rgb, level=0)),
    "transparent.png": lambda rgb, path: Image.fromarray(
        np.dstack([rgb, np.full_like(rgb[..., 0], 255)])
    ).save(path),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_have_bands_as_well(name, tmp_path):
    rgb = random_squares(60, 90)
    rgb[:, :5], rgb[:, 5:10] = 0, 255  # the ends of the range, so that nothing is stretched
    path = tmp_path / f"a.{name}"
    OTHERS[name](rgb, path)
    plain = read_image(path)
    np.testing.assert_array_equal(read_image(path, bands=(3, 2, 1)), plain[..., ::-1])
    grey = read_image(path, bands=(2,))
    np.testing.assert_array_equal(grey, plain[..., [1, 1, 1]])
    count = 4 if name == "transparent.png" else 3
    assert f"has {count} bands" in message_of(path, bands=(1, 2, 5))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "transparent.png", "16-bit.png"])
def test_a_grey_image_has_one_band(name, tmp_path):
    grey = Image.fromarray(random_squares(60, 90)[..., 0])
    if name == "transparent.png":
        grey = grey.convert("LA")
    if name == "16-bit.png":
        grey = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    grey.save(tmp_path / name)
    for bands in [(1,), (1, 1, 1)]:
        np.testing.assert_array_equal(
            read_image(tmp_path / name, bands=bands), read_image(tmp_path / name)
        )
    assert "asks for band 3" in message_of(tmp_path / name, bands=(3, 2, 1))


def test_a_palette_has_the_bands_of_its_colours(tmp_path):
    palette = Image.fromarray(random_squares(60, 90)).quantize(16)
    for name in ("a.png", "a.gif", "a.tif"):
        palette.save(tmp_path / name)
        plain = read_image(tmp_path / name)
        found = read_image(tmp_path / name, bands=(3, 3, 2))
        np.testing.assert_array_equal(found, plain[..., [2, 2, 1]])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_band_that_an_image_lacks_is_named(layout, tmp_path):
    path = write(tmp_path / "a.tif", five_bands(), LAYOUTS[layout])
    message = message_of(path, bands=(4, 3, 8))
    assert "has 5 bands, and --bands 4,3,8 asks for band 8" in message
    assert not is_large_tiff(path, ReadSettings(bands=(4, 3, 8)))


@pytest.mark.parametrize(
    "bands",
    [(), (1, 2), (1, 2, 3, 4), (0, 1, 2), (-1,), (1.5,), ("1",), "321", 3, (None,)],
    ids=str,
)
def test_bands_that_cannot_be_are_refused_before_the_file_is_looked_for(bands):
    with pytest.raises(SettingsError, match="counted from 1") as caught:
        read_image("missing.tif", bands=bands)
    assert repr(bands) in str(caught.value)


def test_a_file_with_too_many_bands_for_memory_is_read_in_parts(tmp_path, monkeypatch):
    eight = np.dstack([five_bands(), five_bands()[..., :3]]).astype(np.uint16)
    path = write(tmp_path / "a.tif", eight, LAYOUTS["planes"])
    reading = ReadSettings(bands=(8, 1, 2))
    assert not is_large_tiff(path, reading)
    monkeypatch.setenv("DINOISER_MAX_PIXELS", "20000")
    assert "bytes of memory" in message_of(path, bands=(8, 1, 2))
    assert is_large_tiff(path, reading)
    parts = read_in_parts(path, reading)
    monkeypatch.delenv("DINOISER_MAX_PIXELS")
    np.testing.assert_array_equal(parts, read_image(path, bands=(8, 1, 2)))
