"""The limit of an image's size counts memory, of all images that are decoded at a time."""

import threading

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.errors import ImageError
from dinoiser.images import read_image
from dinoiser.images.pixel_limit import decoding


def test_a_deep_image_may_have_fewer_pixels_than_one_of_8_bits(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(np.zeros((20, 30, 4), np.uint16)))
    # 8 bytes of samples and 3 of the result, where the limit counts 7
    with pytest.raises(ImageError, match=r"30 x 20 pixels takes 6,600 bytes .* at least 943"):
        read_image(path, max_pixels=942)
    assert read_image(path, max_pixels=943).shape == (20, 30, 3)


def test_so_does_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 30, 3), np.float32), photometric="rgb")
    with pytest.raises(ImageError, match=r"takes 9,000 bytes .* with 12 bytes a pixel"):
        read_image(path, max_pixels=1000)
    assert read_image(path, max_pixels=1286).shape == (20, 30, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
def test_8_bits_are_limited_by_their_pixels_alone(mode, tmp_path):
    Image.new(mode, (30, 20)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=600).shape == (20, 30, 3)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_an_image_waits_for_the_memory_of_others(name, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / name)
    done = threading.Event()

    def read():
        read_image(tmp_path / name, max_pixels=1000)
        done.set()

    thread = threading.Thread(target=read)
    with decoding(30, 20, 4, 1000):
        thread.start()
        assert not done.wait(0.3)
    assert done.wait(30)
    thread.join()


def test_images_that_fit_together_do_not_wait(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with decoding(30, 20, 4, 1200):
        assert read_image(tmp_path / "a.png", max_pixels=1200).shape == (20, 30, 3)


def test_a_damaged_image_leaves_its_memory_to_the_next(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    for _ in range(3):
        with pytest.raises(ImageError):
            read_image(tmp_path / "half.png", max_pixels=60_000)
    assert read_image(tmp_path / "whole.png", max_pixels=60_000).shape == (200, 300, 3)
