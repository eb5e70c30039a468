"""Arrays of every layout as images."""

import dask.array as da
import numpy as np
import pytest

from dinoiser.errors import ImageError
from napari_dinoiser.segment.image_source import ImageSource

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), np.uint8)


def only(parts):
    (part,) = parts
    return part


def test_a_colour_image_comes_as_it_is():
    source = ImageSource((IMAGE,), rgb=True)
    assert source.shape == (40, 60)
    np.testing.assert_array_equal(source.read(only(source.parts(()))), IMAGE)


def test_a_rectangle_is_cut_to_the_image():
    source = ImageSource((IMAGE,), rgb=True)
    part = only(source.parts((), slice(30, 100), slice(50, 200)))
    assert part.size == (10, 10)
    np.testing.assert_array_equal(source.read(part), IMAGE[30:, 50:])


@pytest.mark.parametrize("rows", [slice(40, 50), slice(7, 7)])
def test_a_rectangle_beside_the_image_is_refused(rows):
    with pytest.raises(ImageError, match="does not overlap"):
        ImageSource((IMAGE,), rgb=True).parts((), rows, slice(0, 10))


def test_planes_of_a_stack():
    stack = RNG.integers(0, 256, (2, 3, 8, 9), np.uint8)
    source = ImageSource((stack,), limits=(0, 255))
    assert source.shape == (2, 3, 8, 9)
    assert [part.plane for part in source.parts(None)] == [(a, b) for a in (0, 1) for b in range(3)]
    grey = source.read(only(source.parts((1, 2))))
    np.testing.assert_array_equal(grey, np.repeat(stack[1, 2, ..., np.newaxis], 3, 2))


def test_channels_in_the_middle_of_a_stack():
    stack = RNG.integers(0, 256, (2, 4, 8, 9), np.uint8)
    source = ImageSource((stack,), limits=(0, 255), channel_axis=1, channels=(3, 0, 2))
    assert source.shape == (2, 1, 8, 9)  # so that napari shows each plane where the image has it
    seen = source.read(only(source.parts((1, 0))))
    np.testing.assert_array_equal(seen, np.moveaxis(stack[1], 0, -1)[..., [3, 0, 2]])


def test_limits_become_black_and_white_and_nan_black():
    values = np.array([[0.0, 5, 10, 15, np.nan]])
    source = ImageSource((values,), limits=(5, 10))
    assert source.read(only(source.parts(())))[0, :, 0].tolist() == [0, 0, 255, 255, 0]


class Counted:
    """An array that counts what is read of it."""

    def __init__(self, array):
        self.array, self.shape, self.read = array, array.shape, 0

    def __getitem__(self, key):
        found = self.array[key]
        self.read += found.size
        return found


def test_the_smallest_level_that_suffices_is_read():
    image = np.repeat(np.repeat(RNG.integers(0, 256, (64, 96), np.uint8), 8, 0), 8, 1)
    levels = tuple(Counted(image[::step, ::step]) for step in (1, 2, 4, 8))
    source = ImageSource(levels, limits=(0, 255))
    seen = source.read(only(source.parts((), slice(0, 256), slice(256, 512))), short_side=60)
    assert [level.read for level in levels] == [0, 128 * 128, 0, 0]
    np.testing.assert_array_equal(seen[..., 0], image[0:256:2, 256:512:2])


def test_a_level_with_fewer_slices_is_read_where_the_slice_lies():
    full = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None], (8, 400, 400))
    levels = tuple(full[::step, ::step, ::step] for step in (1, 2, 4))
    source = ImageSource(levels)
    for step, shown in enumerate((0, 0, 0, 0, 4, 4, 4, 4)):
        pixels = source.read(only(source.parts((step,))), 50)
        assert pixels.shape == (100, 100, 3)
        assert (pixels == shown).all()


def test_a_lazy_image_is_read_where_it_is_looked_at():
    asked = []

    def block(block_info=None):
        asked.append(block_info[None]["chunk-location"])
        return np.zeros((10, 10), np.uint8)

    lazy = da.map_blocks(
        block, chunks=((10,) * 5, (10,) * 5), dtype=np.uint8, meta=np.zeros((0, 0))
    )
    source = ImageSource((lazy,), limits=(0, 255))
    source.read(only(source.parts((), slice(12, 18), slice(31, 39))))
    assert asked == [(1, 3)]
