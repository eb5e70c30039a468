"""YOLO files, read by supervision and filled by pycocotools."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given
from PIL import Image
from pycocotools import mask
from scipy.ndimage import binary_dilation

from dinoiser.batch.export import export
from dinoiser.errors import InputError, OutputError
from dinoiser.export import ExportOptions, build_yolo, link_image
from dinoiser.images import read_image
from tests.helpers.drawn_images import assert_shows_four_squares, four_squares
from tests.helpers.export_jobs import (
    IDS,
    PROMPTS,
    decodes,
    label_arrays,
    make_job,
    objects,
    scene,
    supervision,
)
from tests.helpers.series import cases

pytestmark = decodes


def compose(text, shape):
    """Paint the lines of a label file."""
    labels = np.zeros(shape, np.uint8)
    for line in text.splitlines():
        index, *places = line.split()
        places = np.array(places, float)
        assert 0 <= places.min() <= places.max() <= 1
        corners = np.rint(places.reshape(-1, 2) * shape[::-1])
        np.testing.assert_allclose(places.reshape(-1, 2) * shape[::-1], corners, atol=1e-3)
        (rle,) = mask.frPyObjects([corners.ravel().tolist()], *shape)
        labels[mask.decode(rle).astype(bool)] = IDS[int(index)]
    return labels


@cases(100)
@given(labels=label_arrays())
def test_polygons_hold_every_pixel_with_holes_and_all_parts(labels):
    np.testing.assert_array_equal(
        compose(build_yolo(labels, PROMPTS), labels.shape), objects(labels)
    )


def test_places_are_exact_in_wide_images():
    labels = np.zeros((3, 9973), np.uint8)
    labels[1, ::2] = 1
    np.testing.assert_array_equal(compose(build_yolo(labels, PROMPTS), labels.shape), labels)


def test_supervision_reads_images_classes_and_masks(tmp_path):
    output = make_job(tmp_path, {"a.png": scene(), "b.jpg": scene(2), "empty.png": scene() * 0})
    export(output, ["yolo"])
    dataset = supervision.DetectionDataset.from_yolo(
        str(output / "images"), str(output / "labels"), str(output / "data.yaml"), force_masks=True
    )
    assert dataset.classes == ["dog", "sky", "grass"]
    found = {Path(path).name: (image, detections) for path, image, detections in dataset}
    assert sorted(found) == ["a.png", "b.jpg", "empty.png"]
    assert len(found["empty.png"][1]) == 0
    image, detections = found["a.png"]
    assert image.shape == (40, 60, 3)
    assert len(detections) == 5
    for class_index, seen in zip(detections.class_id, detections.mask, strict=True):
        inside = scene() == IDS[class_index]
        # it fills corners of pixels as if they were centres, so up to a pixel more
        assert (seen & ~binary_dilation(inside, np.ones((3, 3)))).sum() == 0
    for index, class_id in enumerate(IDS):
        seen = detections.mask[detections.class_id == index].any(axis=0)
        assert seen[scene() == class_id].all()


def test_readers_find_labels_by_the_images_path(tmp_path):
    output = make_job(tmp_path, {"a/b.jpg": scene(), "c.png": scene() * 0})
    export(output, ["yolo"])
    data = yaml.safe_load((output / "data.yaml").read_text())
    assert data["names"] == {0: "dog", 1: "sky", 2: "grass"}
    images = Path(data["path"], data["train"])
    assert Path(data["path"], data["val"]) == images
    for name in ["a/b.jpg", "c.png"]:
        link = images / name
        assert link.read_bytes() == (tmp_path / "images" / name).read_bytes()
        label = Path(str(link).replace("/images/", "/labels/")).with_suffix(".txt")
        assert bool(label.read_text()) == (name == "a/b.jpg")


def test_small_parts_are_left_out():
    lines = build_yolo(scene(), PROMPTS, ExportOptions(min_area=80)).splitlines()
    assert [line.split()[0] for line in lines] == ["0", "2", "2"]


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("hard", [False, True])
def test_a_tiff_that_pillow_cannot_open_becomes_a_copy_that_it_can(tmp_path, dtype, hard):
    pixels = np.random.default_rng(3).integers(0, 3000, (20, 30, 3)).astype(dtype)
    image, link = tmp_path / "a.tif", tmp_path / "images" / "a.tif"
    tifffile.imwrite(image, pixels, photometric="rgb")
    for _ in range(2):  # again: it is there
        link_image(image, link, hard=hard)
        with Image.open(link) as copy:
            assert (copy.size, copy.mode) == ((30, 20), "RGB")
            np.testing.assert_array_equal(np.asarray(copy), read_image(image))
    plain = tmp_path / "b.tif"
    tifffile.imwrite(plain, pixels.astype(np.uint8), photometric="rgb")
    link_image(plain, tmp_path / "images" / "b.tif", hard=hard)
    assert (tmp_path / "images" / "b.tif").samefile(plain)


def test_an_image_is_copied_where_no_link_can_be_made(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    image = tmp_path / "a.png"
    Image.fromarray(scene()).save(image)
    image.chmod(0o444)
    path = tmp_path / "out" / "images" / "a.png"
    for _ in range(3):
        link_image(image, path)
        assert not path.is_symlink()
        assert path.stat().st_mode & stat.S_IWUSR  # else Windows would not replace it
        assert path.read_bytes() == image.read_bytes()
        image.chmod(0o644)
        os.utime(image)  # the same image, with another time
    Image.fromarray(scene() * 0).save(image)
    with pytest.raises(OutputError, match=r"a\.png is in the way"):
        link_image(image, path)  # a folder called images may hold those of the user
    link_image(image, path, ours=True)
    assert path.read_bytes() == image.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_a_link_follows_an_image_that_has_moved(tmp_path):
    path = tmp_path / "images" / "a.png"
    for folder in ["before", "after"]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_text(folder)
        link_image(tmp_path / folder / "a.png", path)
        assert path.read_text() == folder


def test_the_image_itself_and_files_of_others_are_never_replaced(tmp_path):
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    image.write_text("mine")
    link_image(image, image)
    assert not image.is_symlink()
    (tmp_path / "b.png").write_text("another")
    with pytest.raises(OutputError, match=r"a\.png is in the way"):
        link_image(tmp_path / "b.png", image)
    assert image.read_text() == "mine"


def test_an_image_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no image .*gone\.png"):
        link_image(tmp_path / "gone.png", tmp_path / "images" / "gone.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_a_turned_image_becomes_an_upright_copy(name, tmp_path):
    upright = Image.fromarray(four_squares())
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / name, exif=exif, **({"lossless": True} if "webp" in name else {}))
    path = tmp_path / "images" / name
    path.parent.mkdir()
    path.symlink_to(tmp_path / name)  # as exports were before
    link_image(tmp_path / name, path)
    assert not path.is_symlink()
    # as a reader that knows of no orientation
    with Image.open(path) as copy, Image.open(tmp_path / name) as original:
        assert copy.getexif().get(0x0112, 1) == 1
        assert_shows_four_squares(np.asarray(copy.convert("RGB")), tolerance=16)
        assert copy.format == original.format
    before = path.stat()
    link_image(tmp_path / name, path)
    assert path.stat().st_ino == before.st_ino
    os.utime(tmp_path / name)  # as copying does, or another program that saves the image
    link_image(tmp_path / name, path, ours=True)
    assert path.stat().st_mtime_ns == (tmp_path / name).stat().st_mtime_ns
    # an upright image that is turned in its place, whose hard link shows it as it is stored
    hard = tmp_path / "hard" / name
    hard.parent.mkdir()
    hard.hardlink_to(tmp_path / name)
    link_image(tmp_path / name, hard, hard=True, ours=True)
    assert not hard.samefile(tmp_path / name)
    # once the original is upright, it is what readers get
    upright.save(tmp_path / name)
    link_image(tmp_path / name, path, ours=True)
    assert path.read_bytes() == (tmp_path / name).read_bytes()
