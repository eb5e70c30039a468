"""Images that do not say which of their bands are the colours: the message's cure is followed."""

import re
import shlex

import numpy as np
import pytest
import tifffile

from dinoiser.export import read_mask
from dinoiser.images import read_image
from tests.helpers.command_line import dinoiser
from tests.helpers.drawn_images import random_squares

WORDS = ("-p", "background, red star, circle", "--model", "tiny", "--scheduler", "sync")


def label(folder, output, *more):
    return dinoiser("label", folder, "-o", output, *WORDS, *more)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize(
    ("kind", "axes"), [("ome", "CYX"), ("ome", "TZCYX"), ("ome", "TCZYX"), ("imagej", "TZCYX")]
)
def test_following_the_message_labels_the_channels_of_the_first_slice(kind, axes, count, tmp_path):
    channels = random_squares(80, 120 * count)[..., 0].reshape(80, 120, count, order="F")
    first = np.moveaxis(channels, -1, 0)
    sizes = {"T": 2, "Z": 3, "C": count, "Y": 80, "X": 120}
    # all other slices and times are darker
    stack = np.zeros([sizes[axis] for axis in axes], np.uint8)
    stack[tuple(0 if axis in "TZ" else slice(None) for axis in axes)] = first
    folder = tmp_path / "images"
    folder.mkdir()
    metadata = {"axes": axes}
    tifffile.imwrite(
        folder / "a.tif", stack, photometric="minisblack", metadata=metadata, **{kind: True}
    )
    code, out, err = label(folder, tmp_path / "refused")
    assert code != 0
    message = " ".join((out + err).split())
    assert f"the image has {count} bands" in message
    cure = shlex.split(re.search(r"`dinoiser label (--bands [\d,]+)`", message)[1])
    chosen = [int(band) - 1 for band in cure[1].split(",")]
    code, out, err = label(folder, tmp_path / "cured", *cure)
    assert code == 0, out + err
    # as an image that holds only these
    (tmp_path / "copy").mkdir()
    copied = np.dstack([channels[..., band] for band in (chosen * 3)[:3]])
    tifffile.imwrite(tmp_path / "copy/a.tif", copied, photometric="rgb")
    label(tmp_path / "copy", tmp_path / "expected")
    masks = [read_mask(tmp_path / f"{job}/masks/a.png") for job in ("cured", "expected")]
    np.testing.assert_array_equal(*masks)
    # and in Python, by the other half of the sentence
    bands = re.search(r"in Python, bands=\(([\d, ]+)\)", message)[1]
    numbers = [int(number) for number in re.findall(r"\d+", bands)]
    np.testing.assert_array_equal(read_image(folder / "a.tif", bands=numbers), copied)
