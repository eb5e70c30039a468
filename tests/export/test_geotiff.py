"""Masks of images that lie somewhere in the world lie there, too."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffFile, TiffWriter, imwrite

from dinoiser.batch.export import export
from dinoiser.export import read_mask
from tests.helpers.drawn_images import random_squares
from tests.helpers.export_jobs import PROMPTS, make_job, scene
from tests.helpers.taught_jobs import label

# EPSG:32633 (UTM 33N): version, then key, where its value is, count, value
KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
SCALE, TIE = (0.25, 0.25, 0.0), (0.0, 0.0, 0.0, 499_980.125, 5_200_020.875, 0.0)
DOUBLES, TEXT = (6378137.0, 298.257223563), "WGS 84 / UTM zone 33N|"
GEOREFERENCE = [
    (33550, 12, 3, SCALE),
    (33922, 12, 6, TIE),
    (34735, 3, len(KEYS), KEYS),
    (34736, 12, 2, DOUBLES),
    (34737, 2, 0, TEXT),
]
LABELS = {"b.tif": scene(), "a/c.tif": scene(1, (300, 700)), "d.png": scene(2)}


def write_image(path, shape, *more, byteorder="<"):
    pixels = np.full((*shape, 3), 128, np.uint8)
    tags = [(*tag, True) for tag in [*GEOREFERENCE, *more]]
    imwrite(path, pixels, photometric="rgb", extratags=tags, byteorder=byteorder)


@pytest.fixture
def job(tmp_path):
    output = make_job(tmp_path, LABELS)
    write_image(tmp_path / "images/b.tif", LABELS["b.tif"].shape)
    write_image(tmp_path / "images/a/c.tif", LABELS["a/c.tif"].shape, byteorder=">")
    return output


def values(path):
    with TiffFile(path) as tiff:
        return {code: tag.value for code, tag in tiff.pages.first.tags.items()}


@pytest.mark.parametrize("name", ["b", "a/c"])
def test_a_mask_has_the_georeference_of_its_image_and_its_labels(job, name):
    assert not export(job, ["geotiff"])
    path = job / f"geotiff/{name}.tif"
    found = values(path)
    for code, _, _, expected in GEOREFERENCE:
        assert found[code] == expected
    assert found[42113] == "255"
    with Image.open(path) as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), LABELS[f"{name}.tif"])
        colors = np.asarray(mask.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(colors, PROMPTS.palette)


def test_an_image_without_one_has_a_plain_tiff(job):
    export(job, ["geotiff"])
    assert not {code for code, *_ in GEOREFERENCE} & values(job / "geotiff/d.tif").keys()
    with Image.open(job / "geotiff/d.tif") as mask:
        np.testing.assert_array_equal(np.asarray(mask), LABELS["d.png"])


def test_around_the_mosaic_of_a_drone_there_is_nodata(tmp_path):
    rgba = np.dstack([random_squares(90, 120), np.full((90, 120), 255, np.uint8)])
    rgba[:40, :50, 3] = 0
    (tmp_path / "images").mkdir()
    tags = [(*tag, True) for tag in GEOREFERENCE]
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"], "extratags": tags}
    imwrite(tmp_path / "images/a.tif", rgba, **options)
    label(tmp_path / "images", tmp_path / "labels", keep_features=False)
    assert not export(tmp_path / "labels", ["geotiff"])
    path = tmp_path / "labels/geotiff/a.tif"
    assert values(path)[33550] == SCALE
    with TiffFile(path) as tiff:
        is_nodata = tiff.asarray() == int(values(path)[42113])
    np.testing.assert_array_equal(is_nodata, rgba[..., 3] == 0)


def test_an_image_after_its_reduced_copy_has_its_own_georeference(job, tmp_path):
    path = tmp_path / "images/b.tif"
    image = np.full((*LABELS["b.tif"].shape, 3), 128, np.uint8)
    tags = [(*tag, True) for tag in GEOREFERENCE]
    with TiffWriter(path) as tiff:
        tiff.write(image[::2, ::2].copy(), photometric="rgb", subfiletype=1, metadata=None)
        tiff.write(image, photometric="rgb", extratags=tags, metadata=None)
    assert not export(job, ["geotiff"])
    assert values(job / "geotiff/b.tif")[33550] == SCALE


@pytest.mark.parametrize("ending", ["pgw", "PGW", "pngw", "wld"])
def test_a_world_file_places_the_first_pixels_corner(job, tmp_path, ending):
    # a quarter of a metre a pixel; the centre of the first is given
    (tmp_path / f"images/d.{ending}").write_text("0.25\n0\n0\n-0.25\n1000.125\n1999.875\n")
    assert not export(job, ["geotiff"])
    matrix = np.reshape(values(job / "geotiff/d.tif")[34264], (4, 4))
    np.testing.assert_array_equal(matrix @ [0, 0, 0, 1], [1000, 2000, 0, 1])
    np.testing.assert_array_equal(matrix @ [4, 8, 0, 1], [1001, 1998, 0, 1])


def test_a_world_file_that_is_none_is_named(job, tmp_path):
    (tmp_path / "images/d.pgw").write_text("0.25\nzero\n")
    failures = export(job, ["geotiff"])
    assert failures.keys() == {"d.png"}
    assert "d.pgw does not hold six numbers" in failures["d.png"]


def test_ids_above_254_are_16_bit_values(tmp_path):
    classes = [
        item if item.background else replace(item, id=item.id + 300) for item in PROMPTS.classes
    ]
    labels = scene().astype(np.uint16)
    labels[labels == 255] = 65535
    labels[(labels > 0) & (labels < 65535)] += 300
    job = make_job(tmp_path, {"b.tif": labels}, replace(PROMPTS, classes=tuple(classes)))
    write_image(tmp_path / "images/b.tif", labels.shape)
    assert not export(job, ["geotiff"])
    found = values(job / "geotiff/b.tif")
    assert (found[42113], found[33550]) == ("65535", SCALE)
    with TiffFile(job / "geotiff/b.tif") as tiff:
        np.testing.assert_array_equal(tiff.asarray(), labels)


def test_an_image_that_is_gone_or_turned_is_named_and_the_others_are_exported(job, tmp_path):
    images = tmp_path / "images"
    (images / "d.png").unlink()
    write_image(images / "a/c.tif", LABELS["a/c.tif"].shape[::-1], (274, 3, 1, 6))
    failures = export(job, ["geotiff"])
    assert failures.keys() == {"d.png", "a/c.tif"}
    assert "turned by its orientation tag (6)" in failures["a/c.tif"]
    assert "there is no file" in failures["d.png"]
    assert {path.name for path in (job / "geotiff").rglob("*.tif")} == {"b.tif"}


def test_the_same_masks_give_the_same_bytes(job):
    export(job, ["geotiff"])
    first = (job / "geotiff/b.tif").read_bytes()
    export(job, ["geotiff"])
    assert (job / "geotiff/b.tif").read_bytes() == first
    np.testing.assert_array_equal(read_mask(job / "masks/b.png"), LABELS["b.tif"])
