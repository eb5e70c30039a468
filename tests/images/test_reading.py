"""Images of 8 and of more bits, in every format."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.errors import ImageError
from dinoiser.images import read_image, read_size, to_rgb
from tests.helpers.drawn_images import (
    BLACK,
    GREEN,
    GREY,
    RED,
    WHITE,
    assert_is_grey_ramp,
    assert_shows_four_squares,
    four_squares,
    ramp,
)

T = Image.Transpose


# files of 8 bits


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("baseline.jpg", {"quality": 95}, 6),
        ("progressive.jpg", {"quality": 95, "progressive": True}, 6),
        ("image.png", {}, 0),
        ("strips.tif", {}, 0),
        ("lossy.webp", {"quality": 95}, 8),
        ("lossless.webp", {"lossless": True}, 0),
        ("image.bmp", {}, 0),
        ("image.gif", {}, 0),
        ("image.avif", {"quality": 95}, 8),
    ],
)
def test_every_format_gives_its_colours_back(tmp_path, name, options, tolerance):
    Image.fromarray(four_squares()).save(tmp_path / name, **options)
    assert_shows_four_squares(read_image(tmp_path / name), tolerance)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(four_squares())).save(tmp_path / "a.heic", quality=95)
    assert_shows_four_squares(read_image(tmp_path / "a.heic"), tolerance=8)


def test_heic_images_are_turned_upright_once(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[274] = 6
    stored = Image.fromarray(four_squares()).transpose(T.ROTATE_90)
    pillow_heif.from_pillow(stored).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    assert_shows_four_squares(read_image(tmp_path / "a.heic"), tolerance=8)


def test_large_images_have_no_seams(tmp_path):
    # taller than the bands that are converted one by one
    tall = np.random.default_rng(0).integers(0, 256, (3000, 9, 3), dtype=np.uint8)
    Image.fromarray(tall).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), tall)


def test_the_content_decides_and_not_the_name(tmp_path):
    Image.fromarray(four_squares()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert_shows_four_squares(read_image(str(tmp_path / "a.jpg")))


def test_the_array_is_contiguous_and_writable(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(four_squares()).save(tmp_path / "a.png", exif=exif)
    rgb = read_image(tmp_path / "a.png")
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable


STORED_AS = {
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}


@pytest.mark.parametrize(("orientation", "transpose"), STORED_AS.items())
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_images_are_turned_upright(tmp_path, orientation, transpose, suffix):
    stored = Image.fromarray(four_squares())
    stored = stored if transpose is None else stored.transpose(transpose)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored.save(path, exif=exif, **({} if suffix in ("png", "tif") else {"quality": 95}))
    assert_shows_four_squares(read_image(path), tolerance=8)
    assert read_size(path) == read_image(path).shape[:2]


def test_the_size_of_a_tiff_that_pillow_does_not_know_is_read(tmp_path, caplog):
    form = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((30, 40, 8), np.uint8), **form)
    assert read_size(tmp_path / "a.tif") == (30, 40)
    assert not caplog.records


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_do_not_cost_the_image(tmp_path):
    Image.fromarray(four_squares()).save(
        tmp_path / "a.jpg", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"
    )
    assert_shows_four_squares(read_image(tmp_path / "a.jpg"), tolerance=6)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 30},
        {"quality": 95, "subsampling": 0},
        {"quality": 95, "subsampling": 1},
        {"subsampling": 2, "restart_marker_blocks": 2},
        {"progressive": True},
        {"keep_rgb": True},
    ],
    ids=str,
)
def test_jpegs_have_the_same_pixels_as_in_pillow(tmp_path, mode, options):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    stored = Image.fromarray(noise).resize((61, 47), Image.Resampling.BICUBIC).convert(mode)
    stored.save(tmp_path / "a.jpg", **options)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)


def test_what_follows_a_jpeg_does_not_count(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(four_squares()).save(path, quality=95)
    path.write_bytes(path.read_bytes() + b"what some cameras append")
    assert_shows_four_squares(read_image(path), tolerance=6)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.5, 0.9, -1, -2])
def test_truncated_jpegs_are_refused(tmp_path, progressive, kept):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, progressive=progressive)
    data = path.read_bytes()
    path.write_bytes(data[:kept] if kept < 0 else data[: int(kept * len(data))])
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(path)


@pytest.mark.parametrize("colorspace", ["cmyk", "ycck"])
def test_cmyk_jpegs_show_their_printed_colours(tmp_path, colorspace):
    # Adobe stores ink inverted: 255 is no ink; left all cyan, right all magenta and yellow
    ink = np.zeros((32, 64, 4), np.uint8)
    ink[:, :32], ink[:, 32:] = (0, 255, 255, 255), (255, 0, 0, 255)
    data = imagecodecs.jpeg8_encode(ink, level=98, colorspace="cmyk", outcolorspace=colorspace)
    (tmp_path / "a.jpg").write_bytes(data)
    rgb = read_image(tmp_path / "a.jpg").astype(int)
    assert np.abs(rgb[16, 8] - (0, 255, 255)).max() <= 10
    assert np.abs(rgb[16, 56] - (255, 0, 0)).max() <= 10


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_images_saved_by_pillow_show_their_colours(tmp_path, name):
    Image.fromarray(four_squares()).convert("CMYK").save(tmp_path / name)
    assert_shows_four_squares(read_image(tmp_path / name), tolerance=12)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (4, 4), (*RED, 0)), WHITE),
        (Image.new("RGBA", (4, 4), (*RED, 255)), RED),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 102)), (153, 153, 153)),
        (Image.new("LA", (4, 4), (0, 0)), WHITE),
        (Image.new("LA", (4, 4), (90, 255)), (90, 90, 90)),
        (Image.new("1", (4, 4), 1), WHITE),
        (Image.new("1", (4, 4), 0), BLACK),
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("RGB", (4, 4), RED).quantize(4), RED),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
@pytest.mark.filterwarnings("ignore:.*of the pixels are partly transparent")
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_pixel_mode_shows_its_colour_on_white(tmp_path, image, expected, suffix):
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    assert (read_image(path) == expected).all()
    assert (to_rgb(image) == expected).all()


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_palette_entries_become_white(tmp_path, suffix):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([*RED, *GREEN])
    image.putpixel((3, 1), 1)
    image.save(tmp_path / f"a.{suffix}", transparency=1)
    rgb = read_image(tmp_path / f"a.{suffix}")
    assert tuple(rgb[0, 0]) == RED
    assert tuple(rgb[1, 3]) == WHITE


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN)]
    for name in ("a.gif", "a.png", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert (read_image(tmp_path / name) == RED).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (3, 5), (4, 3)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_narrow_images_are_read(tmp_path, size, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", size, GREY).save(path)
    assert (read_image(path) == GREY).all()
    assert read_image(path).shape == (size[1], size[0], 3)


# deeper files


def save_png16(path, values):
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(values)))


def test_sixteen_bit_grey_pngs_keep_their_gradient(tmp_path):
    # a narrow range that 8 bits would round to two levels
    save_png16(tmp_path / "a.png", ramp(np.uint16, 1000, 1400))
    assert_is_grey_ramp(read_image(tmp_path / "a.png"))


def test_sixteen_bit_rgb_pngs_are_not_cut_to_eight_bits(tmp_path):
    rgb16 = np.stack([ramp(np.uint16, 1000, 1400)] * 3, axis=-1)
    save_png16(tmp_path / "a.png", rgb16)
    assert_is_grey_ramp(read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_parts_of_sixteen_bit_pngs_are_white(tmp_path, channels):
    values = np.repeat(ramp(np.uint16, 500, 60000)[..., np.newaxis], channels, axis=2)
    values[..., -1] = 65535
    values[:10, :, -1] = 0
    save_png16(tmp_path / "a.png", values)
    rgb = read_image(tmp_path / "a.png")
    assert (rgb[:10] == 255).all()
    assert_is_grey_ramp(rgb[10:])


def test_scaling_is_joint_so_that_colours_keep_their_ratios(tmp_path):
    rgb16 = np.zeros((10, 10, 3), np.uint16)
    rgb16[:5] = (40000, 20000, 10000)
    save_png16(tmp_path / "a.png", rgb16)
    assert tuple(read_image(tmp_path / "a.png")[0, 0]) == (255, 128, 64)


def test_a_few_hot_pixels_do_not_darken_the_image(tmp_path):
    values = ramp(np.uint16, 100, 300, shape=(100, 100)).copy()
    values[0, :20] = 65535
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert_is_grey_ramp(read_image(tmp_path / "a.tif")[1:])


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.uint16, 300, 4000),
        (np.int16, -500, 500),
        (np.uint32, 10, 4_000_000_000),
        (np.int32, -7, 9000),
        (np.float16, 0, 1),
        (np.float32, 0, 1),
        (np.float32, -3, 20),
        (np.float64, 1e-6, 2e-6 + 1e6),
    ],
)
def test_deep_tiffs_keep_their_gradient(tmp_path, dtype, low, high):
    values = ramp(dtype, low, high)
    tifffile.imwrite(tmp_path / "a.tif", values)
    rgb = read_image(tmp_path / "a.tif")
    assert_is_grey_ramp(rgb)
    assert (rgb == to_rgb(values)).all()


def test_missing_values_become_black(tmp_path):
    values = ramp(np.float32, 10, 90).copy()
    values[:5] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    rgb = read_image(tmp_path / "a.tif")
    assert (rgb[:5] == 0).all()
    assert_is_grey_ramp(rgb[5:])
