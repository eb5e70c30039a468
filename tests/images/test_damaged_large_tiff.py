"""Damaged TIFF files that are read in parts: refused within seconds, and by our own error."""

import logging
import random
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import tifffile

from dinoiser.errors import ImageError
from dinoiser.images.large_tiff import open_large_tiff

RGB = np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)
PLANES = np.moveaxis(RGB, -1, 0)
KINDS = {
    "tiles": (RGB, {"tile": (32, 48), "compression": "zlib", "predictor": True}),
    "strips": (RGB, {"rowsperstrip": 7, "compression": "lzw"}),
    "uncompressed": (RGB, {}),
    "big endian": (RGB.astype(np.uint16) * 99, {"byteorder": ">"}),
    "jpeg": (RGB, {"tile": (32, 32), "compression": "jpeg", "photometric": "ycbcr"}),
    "planes": (PLANES, {"planarconfig": "separate"}),
    "ome": (
        PLANES,
        {"tile": (32, 32), "ome": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"},
    ),
    "imagej": (
        PLANES,
        {"imagej": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"},
    ),
    "palette": (
        RGB[..., 0],
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
    ),
    "bigtiff": (RGB, {"bigtiff": True, "tile": (32, 32)}),
}
NUMBERS = [0, 1, 2, 2**8, 2**16, 2**31 - 1, 2**32 - 1]
SIZE = 600
"""Bytes at either end of a file that may hold its structure."""


@pytest.fixture(autouse=True)
def quiet():
    """Keep what tifffile logs about damage out of the test's output."""
    logging.getLogger("tifffile").disabled = True
    yield
    logging.getLogger("tifffile").disabled = False


def damage(content, rng):
    """Change up to six places of a file, mostly where its structure is."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        place = rng.choice([rng.randrange(SIZE), -1 - rng.randrange(SIZE)]) % len(content)
        kind = rng.randrange(5)
        if kind < 2:
            content[place] = rng.randrange(256)
        elif kind == 2:
            number = rng.choice(NUMBERS)
            content[place : place + 4] = number.to_bytes(4, rng.choice(["little", "big"]))
        elif kind == 3:  # a longer number in a description
            digits = [i for i, byte in enumerate(content[:SIZE]) if byte in b"0123456789"]
            if digits:
                place = rng.choice(digits)
                content[place : place + 1] = b"9" * rng.choice([1, 2, 5, 9])
        elif rng.random() < 0.2:
            del content[max(place, 8) :]
    return bytes(content)


def read(path):
    """Read a file in parts, unless it is refused; return the seconds of CPU that it took."""
    start = time.process_time()
    with suppress(ImageError), open_large_tiff(path) as tiff:
        tiff.pixels((100, 100)).compute(scheduler="threads")
    return time.process_time() - start


def check(kind, count, path):
    array, options = KINDS[kind]
    tifffile.imwrite(path, array, **{"photometric": "rgb", **options})
    sound = path.read_bytes()
    for seed in range(count):
        path.write_bytes(damage(sound, random.Random(seed)))
        # a sound one takes milliseconds; the limit leaves room for imports and busy machines
        assert read(path) < 10, f"seed {seed}"


@pytest.mark.filterwarnings("ignore")  # NumPy's and tifffile's, about values that damage left
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_in_time(kind, tmp_path):
    check(kind, 60, tmp_path / "image.tif")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_files_are_read_or_refused_in_time(kind, tmp_path):
    check(kind, 3_000, tmp_path / "image.tif")


def test_a_strip_that_cannot_be_decoded_takes_no_memory_for_the_width_it_claims(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, RGB, rowsperstrip=7, compression="lzw", photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(8_000_000)  # 60 rows: 1.4 gigabytes
    tracemalloc.start()
    with pytest.raises(ImageError, match="strip 0 cannot"), open_large_tiff(path) as tiff:
        tiff.pixels((100, 100)).compute(scheduler="synchronous")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**28


def test_a_size_for_which_there_are_no_tiles_is_refused_at_once(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, RGB, tile=(32, 32), photometric="rgb")
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        places = [tiff.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength")]
        tags = [tiff.pages[0].tags[name] for name in ("ImageWidth", "ImageLength")]
    changed = bytearray(content)
    for place, tag in zip(places, tags, strict=True):
        size = 4 if tag.dtype == 4 else 2
        changed[place : place + size] = (2 ** (8 * size - 2)).to_bytes(size, "little")
    path.write_bytes(changed)
    with pytest.raises(ImageError, match="tiles or strips"), open_large_tiff(path):
        pass
