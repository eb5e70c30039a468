import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dinoiser.errors import ImageError, SettingsError
from dinoiser.images import read_image, to_rgb

RED, GREEN, BLUE, GREY = (200, 30, 40), (20, 180, 60), (30, 50, 210), (120, 120, 120)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
T = Image.Transpose


def four_squares(height=40, width=64):
    """Red above blue at the left, green above grey at the right: no symmetry."""
    picture = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:] = RED, GREEN
    picture[top:, :left], picture[top:, left:] = BLUE, GREY
    return picture


def corners(rgb):
    """Colours of the four squares: top left, top right, bottom left, bottom right."""
    height, width = rgb.shape[:2]
    rows, columns = (height // 4, height - height // 4 - 1), (width // 4, width - width // 4 - 1)
    return np.array([rgb[row, column] for row in rows for column in columns]).astype(int)


def assert_shows_four_squares(rgb, tolerance=0, size=(40, 64)):
    assert rgb.shape == (*size, 3)
    assert rgb.dtype == np.uint8
    assert np.abs(corners(rgb) - [RED, GREEN, BLUE, GREY]).max() <= tolerance


def ramp(dtype, low, high, shape=(20, 100)):
    return np.broadcast_to(np.linspace(low, high, shape[1]), shape).astype(dtype)


def assert_is_grey_ramp(rgb):
    row = rgb[0].astype(int)
    assert (row == row[:, :1]).all()
    assert (np.diff(row[:, 0]) >= 0).all()
    assert row[0, 0] == 0
    assert row[-1, 0] == 255
    assert abs(row[len(row) // 2, 0] - 128) <= 4


def message_of(path, **settings):
    """Read a file that cannot be read, and return the one sentence that says why."""
    with pytest.raises(ImageError) as caught:
        read_image(path, **settings)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# files of 8 bits


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("baseline.jpg", {"quality": 95}, 6),
        ("progressive.jpg", {"quality": 95, "progressive": True}, 6),
        ("picture.png", {}, 0),
        ("strips.tif", {}, 0),
        ("lossy.webp", {"quality": 95}, 8),
        ("lossless.webp", {"lossless": True}, 0),
        ("picture.bmp", {}, 0),
        ("picture.gif", {}, 0),
        ("picture.avif", {"quality": 95}, 8),
    ],
)
def test_every_format_gives_its_colours_back(tmp_path, name, options, tolerance):
    Image.fromarray(four_squares()).save(tmp_path / name, **options)
    assert_shows_four_squares(read_image(tmp_path / name), tolerance)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(four_squares())).save(tmp_path / "a.heic", quality=95)
    assert_shows_four_squares(read_image(tmp_path / "a.heic"), tolerance=8)


def test_heic_pictures_are_turned_upright_once(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[274] = 6
    stored = Image.fromarray(four_squares()).transpose(T.ROTATE_90)
    pillow_heif.from_pillow(stored).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    assert_shows_four_squares(read_image(tmp_path / "a.heic"), tolerance=8)


def test_large_pictures_have_no_seams(tmp_path):
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
def test_pictures_are_turned_upright(tmp_path, orientation, transpose, suffix):
    stored = Image.fromarray(four_squares())
    stored = stored if transpose is None else stored.transpose(transpose)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored.save(path, exif=exif, **({} if suffix in ("png", "tif") else {"quality": 95}))
    assert_shows_four_squares(read_image(path), tolerance=8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_do_not_cost_the_picture(tmp_path):
    Image.fromarray(four_squares()).save(
        tmp_path / "a.jpg", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"
    )
    assert_shows_four_squares(read_image(tmp_path / "a.jpg"), tolerance=6)


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
def test_cmyk_pictures_saved_by_pillow_show_their_colours(tmp_path, name):
    Image.fromarray(four_squares()).convert("CMYK").save(tmp_path / name)
    assert_shows_four_squares(read_image(tmp_path / name), tolerance=12)


@pytest.mark.parametrize(
    ("picture", "expected"),
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
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_pixel_mode_shows_its_colour_on_white(tmp_path, picture, expected, suffix):
    path = tmp_path / f"a.{suffix}"
    picture.save(path)
    assert (read_image(path) == expected).all()
    assert (to_rgb(picture) == expected).all()


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_palette_entries_become_white(tmp_path, suffix):
    picture = Image.new("P", (4, 2), 0)
    picture.putpalette([*RED, *GREEN])
    picture.putpixel((3, 1), 1)
    picture.save(tmp_path / f"a.{suffix}", transparency=1)
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
def test_narrow_pictures_are_read(tmp_path, size, suffix):
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


def test_a_few_hot_pixels_do_not_darken_the_picture(tmp_path):
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


# TIFF layouts


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
def test_every_tiff_storage_gives_the_same_picture(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", four_squares(), photometric="rgb", **options)
    assert_shows_four_squares(read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_jpeg_compressed_tiffs_show_their_colours(tmp_path, photometric):
    picture = Image.fromarray(four_squares())
    picture = picture.convert("YCbCr") if photometric == "ycbcr" else picture
    picture.save(tmp_path / "a.tif", compression="jpeg", quality=95)
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
    assert f"{count} channels" in message
    cure = message[message.index("channels=(") + len("channels=") :].rstrip(")") + ")"
    channels = tuple(int(digit) for digit in cure if digit.isdigit())
    assert to_rgb(tifffile.imread(path), channels=channels).shape == (20, 30, 3)


# bad files


def test_text_named_jpg_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("hello, I am no picture")
    assert "not a picture" in message_of(path)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    assert "empty (0 bytes)" in message_of(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    assert message_of(tmp_path).startswith(f"{tmp_path} is a folder")
    assert "no file" in message_of(tmp_path / "absent.png")
    (tmp_path / "file").touch()
    assert "no file" in message_of(tmp_path / "file" / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert "is a device or pipe" in message_of(tmp_path / "a.jpg")


@contextmanager
def as_ordinary_user():
    """Give up the rights of root, whom permissions do not bind."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_file_without_permission_is_refused():
    # pytest's own folders are closed to other users
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "a.png"
        Image.new("RGB", (4, 4)).save(path)
        path.chmod(0)
        with as_ordinary_user():
            assert "permission" in message_of(path)


@pytest.mark.parametrize("share", [0.95, 0.5, 0.1])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("baseline.jpg", {}),
        ("progressive.jpg", {"progressive": True}),
        ("a.png", {}),
        ("a.webp", {}),
        ("a.bmp", {}),
        ("a.gif", {}),
        ("a.avif", {}),
        ("a.tif", {}),
        ("deflate.tif", {"compression": "tiff_deflate"}),
        ("jpeg.tif", {"compression": "jpeg"}),
    ],
)
def test_files_that_are_cut_off_are_refused(tmp_path, name, options, share):
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise).save(path, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "cut off" in message_of(path)


def test_sixteen_bit_pngs_that_are_cut_off_are_refused(tmp_path):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 65536, (50, 50, 3), dtype=np.uint16)
    path.write_bytes(imagecodecs.png_encode(noise)[:6000])
    assert "cut off" in message_of(path)


# the pixel limit


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif", "avif"])
def test_pictures_over_the_limit_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (30, 20)).save(path)
    message = message_of(path, max_pixels=599)
    assert "30 x 20" in message
    assert "599" in message
    assert "DINOISER_MAX_PIXELS" in message
    assert read_image(path, max_pixels=600).shape == (20, 30, 3)


def test_a_bomb_is_refused_by_its_header_alone(tmp_path):
    path = tmp_path / "bomb.bmp"
    Image.new("1", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    # width and height of the BMP header
    data[18:26] = np.array([60_000, 60_000], "<i4").tobytes()
    path.write_bytes(data)
    assert "60000 x 60000 = 3,600,000,000" in message_of(path)


def test_the_limit_can_be_set_by_the_environment(tmp_path, monkeypatch):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    monkeypatch.setenv("DINOISER_MAX_PIXELS", "100")
    assert "100" in message_of(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=1000).shape == (20, 30, 3)
    monkeypatch.setenv("DINOISER_MAX_PIXELS", "many")
    with pytest.raises(SettingsError, match="DINOISER_MAX_PIXELS is many"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "avif"])
def test_pillows_own_limit_is_neither_heeded_nor_changed(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (30, 20), GREY).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(path).shape == (20, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_webp_over_pillows_own_limit_names_the_cure(tmp_path, monkeypatch):
    # Pillow compares this format with its limit before anyone else can
    Image.new("RGB", (30, 20)).save(tmp_path / "a.webp")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "save it as PNG" in message_of(tmp_path / "a.webp")


# arrays

SIZES = st.tuples(st.integers(5, 12), st.integers(5, 12))
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
)
COLOR_IMAGES = st.tuples(SIZES, st.sampled_from([(1,), (3,), (4,)]), DTYPES).flatmap(
    lambda drawn: hnp.arrays(drawn[2], drawn[0] + drawn[1])
)


@given(COLOR_IMAGES)
def test_channels_may_come_first_or_last(image):
    rgb = to_rgb(image)
    assert rgb.shape == (*image.shape[:2], 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(to_rgb(np.moveaxis(image, -1, 0)), rgb)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(5, 12), st.integers(5, 12), st.just(3))))
def test_eight_bits_pass_unchanged(image):
    np.testing.assert_array_equal(to_rgb(image), image)
    np.testing.assert_array_equal(to_rgb(image / 255), image)
    np.testing.assert_array_equal(to_rgb((image / 255).astype(np.float32)), image)


@given(hnp.arrays(np.float64, (6, 7), elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_any_floats_keep_their_order(image):
    grey = to_rgb(image)[..., 0].ravel().astype(int)
    values = np.where(np.isnan(image), -np.inf, image).ravel()
    assert (np.diff(grey[np.argsort(values)]) >= 0).all()


def test_grey_arrays_fill_all_three_channels():
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    for image in (grey, grey[..., np.newaxis], grey[np.newaxis]):
        assert (to_rgb(image) == grey[..., np.newaxis]).all()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_deep_images_are_even(value):
    assert (to_rgb(np.full((5, 6), value, np.uint16)) == 0).all()


def test_floats_from_0_to_1_are_taken_as_that_range():
    assert (to_rgb(np.full((5, 6), 0.2)) == 51).all()


def test_booleans_are_black_and_white():
    assert (to_rgb(np.eye(5, dtype=bool))[..., 0] == 255 * np.eye(5)).all()


def test_float_alpha_is_laid_on_white():
    rgba = np.zeros((5, 6, 4), np.float32)
    rgba[..., 3] = 0.4
    rgba[0, 0, 3] = 1
    rgb = to_rgb(rgba)
    assert (rgb[0, 0] == 0).all()
    assert (rgb[1:] == 153).all()


def test_channels_choose_red_green_and_blue_of_many():
    bands = np.stack([np.full((20, 30), 10 * band, np.uint8) for band in range(7)])
    assert (to_rgb(bands, channels=(3, 2, 1)) == (30, 20, 10)).all()
    assert (to_rgb(np.moveaxis(bands, 0, -1), channels=(3, 2, 1)) == (30, 20, 10)).all()
    assert (to_rgb(np.moveaxis(bands, 0, 1), channels=(5,), channel_axis=1) == 50).all()


@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 4, 4), (1, 3000, 3), (4, 9, 1)])
def test_ambiguous_axes_are_refused_until_stated(shape):
    image = np.zeros(shape, np.uint8)
    with pytest.raises(ImageError, match="channel_axis=-1"):
        to_rgb(image)
    assert to_rgb(image, channel_axis=-1).shape == (*shape[:2], 3)
    assert to_rgb(image, channel_axis=0).shape == (*shape[1:], 3)


@pytest.mark.parametrize(
    ("image", "cure"),
    [
        (np.zeros((5, 6), complex), "abs"),
        (np.zeros((5, 6), object), "astype"),
        (np.array([["a", "b"]]), "expected booleans"),
        (np.zeros((0, 6, 3)), "holds no pixels"),
        (np.zeros(6), "not one image"),
        (np.zeros((2, 5, 6, 3)), r"array\[0\]"),
        (np.float32(1), "not one image"),
        (np.zeros((9, 8, 7)), "channels="),
        (np.zeros((9, 8, 2)), "channels="),
    ],
)
def test_what_is_no_image_is_refused_with_the_cure(image, cure):
    with pytest.raises(ImageError, match=cure):
        to_rgb(image)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": (0, 1)},
        {"channels": (0, 1, 3)},
        {"channels": (-1, 0, 1)},
        {"channel_axis": 3},
        {"channel_axis": 1},
    ],
)
def test_channels_that_do_not_exist_are_refused(settings):
    with pytest.raises(ImageError, match="channel"):
        to_rgb(np.zeros((8, 9, 3), np.uint8), **settings)


def test_a_flat_image_has_no_channel_axis():
    with pytest.raises(ImageError, match="no channel_axis"):
        to_rgb(np.zeros((8, 9)), channel_axis=0)


def test_array_likes_are_taken():
    class Lazy:
        def __array__(self, dtype=None, copy=None):
            return four_squares()

    assert_shows_four_squares(to_rgb(Lazy()))


def test_reading_images_does_not_load_torch():
    code = "import sys, dinoiser.images, dinoiser.inputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
