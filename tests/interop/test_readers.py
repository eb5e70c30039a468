"""Other programs read what we write, where they are installed: the extra `interop`."""

import importlib

import pytest

from tests.helpers.export_jobs import decodes
from tests.interop.job import make_mixed_job, read_masks, read_with
from tests.interop.readers import READERS, Reader, count_same, opencv_indexed

pytestmark = [
    decodes,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of other programs
]


@pytest.mark.parametrize("reader", READERS, ids=lambda r: f"{r.package} {r.format}")
def test_every_image_and_pixel_is_read(tmp_path, reader):
    _import(reader.module)
    job = make_mixed_job(tmp_path)
    masks = read_masks(job)
    images, same = count_same(read_with(reader, job), masks)
    assert images == len(masks)
    assert same == 1 if reader.exact else same > 0.8


def test_opencv_reads_other_values_from_indexed_masks_as_the_page_warns(tmp_path):
    _import("cv2")
    job = make_mixed_job(tmp_path, 4)
    reader = Reader("opencv-python-headless", "cv2", "png", opencv_indexed)
    images, same = count_same(read_with(reader, job), read_masks(job))
    assert images == 4
    assert same < 1


def _import(module):
    try:
        importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{error}; install napari-dinoiser[interop]")
