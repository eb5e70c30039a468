"""Files that are no images, damaged, or too large."""

import os
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from dinoiser.errors import SettingsError
from dinoiser.images import read_image
from tests.helpers.drawn_images import GREY, message_of
from tests.helpers.permissions import as_ordinary_user

# bad files


def test_text_named_jpg_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("hello, I am no image")
    assert "not an image" in message_of(path)


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
    assert "truncated" in message_of(path)


def test_sixteen_bit_pngs_that_are_cut_off_are_refused(tmp_path):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 65536, (50, 50, 3), dtype=np.uint16)
    path.write_bytes(imagecodecs.png_encode(noise)[:6000])
    assert "truncated" in message_of(path)


# the pixel limit


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif", "avif"])
def test_images_over_the_limit_are_refused(tmp_path, suffix):
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
