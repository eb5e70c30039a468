"""Large TIFF files: the same mask in parts as at once, in bounded memory."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.batch.features import KeptFeatures, read_mean
from dinoiser.batch.job_images import JobImage
from dinoiser.batch.large_images import label_large_tiff
from dinoiser.batch.relabel import relabel
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews
from dinoiser.errors import ImageError, SettingsError
from dinoiser.export import read_mask, write_confidence, write_png
from dinoiser.images import read_image
from dinoiser.images.large_tiff import is_large_tiff, open_large_tiff
from dinoiser.images.reading import read_with_missing
from dinoiser.images.settings import ReadSettings
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.segment.segmenter import Segmenter
from tests.helpers.masked_tiff import write_with_mask
from tests.helpers.taught_jobs import SYNC, label

PROMPTS = PromptSet.parse("background, red star, circle, green triangle", ignore_below=0.4)
TILED = {"tile": (256, 256), "compression": "zlib", "photometric": "rgb"}


@pytest.fixture(scope="module")
def large_image():
    """A drawn image of 3000 x 4000 pixels."""
    rng = np.random.default_rng(1)
    scene = draw_scene(rng, (1500, 2000)).image
    return np.block([[[scene], [scene[::-1]]], [[scene[:, ::-1]], [scene[::-1, ::-1]]]])


class _Refusing:
    """A model whose image tower must not run, or no more than so many times."""

    def __init__(self, model, runs=0):
        self._model, self._runs = model, runs

    def __getattr__(self, name):
        return getattr(self._model, name)

    def encode_image(self, pixels):
        if not self._runs:
            raise AssertionError("the image tower ran")
        self._runs -= 1
        return self._model.encode_image(pixels)


@pytest.fixture
def small(large_image):
    return np.ascontiguousarray(large_image[::9, ::9])


def read_in_parts(path, chunk=(100, 100)):
    with open_large_tiff(path) as tiff:
        array = tiff.pixels(chunk)
        assert array.shape == (*tiff.size, 3)
        return array.compute(scheduler="threads")


KINDS = {
    "tiles": (lambda rgb: rgb, {"tile": (64, 48), "compression": "zlib", "predictor": True}),
    "strips": (lambda rgb: rgb, {"rowsperstrip": 37, "compression": "lzw"}),
    "uncompressed": (lambda rgb: rgb, {}),
    "big endian": (lambda rgb: rgb.astype(np.uint16) * 99, {"byteorder": ">"}),
    "jpeg": (lambda rgb: rgb, {"tile": (64, 64), "compression": "jpeg", "photometric": "ycbcr"}),
    "grey": (lambda rgb: rgb[..., 0], {"tile": (64, 64), "photometric": "minisblack"}),
    "inverted": (lambda rgb: rgb[..., 0], {"tile": (64, 64), "photometric": "miniswhite"}),
    "16 bits": (lambda rgb: rgb[..., 1].astype(np.uint16) * 31 + 7, {"photometric": "minisblack"}),
    "planes": (
        lambda rgb: np.moveaxis(rgb, -1, 0).astype(np.uint16) * 9,
        {"tile": (64, 64), "planarconfig": "separate", "compression": "zlib"},
    ),
    "mapped planes": (lambda rgb: np.moveaxis(rgb, -1, 0), {"planarconfig": "separate"}),
    "transparent": (
        lambda rgb: np.dstack([rgb, rgb[..., 0]]),
        {"tile": (64, 64), "extrasamples": ["unassalpha"]},
    ),
    "turned": (
        lambda rgb: rgb,
        {"tile": (64, 64), "extratags": [(274, 3, 1, 6, True)], "compression": "zlib"},
    ),
    "mapped pages": (
        lambda rgb: np.moveaxis(rgb, -1, 0),
        {"ome": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"},
    ),
    "pages": (
        lambda rgb: np.moveaxis(rgb, -1, 0),
        {"tile": (64, 64), "ome": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"},
    ),
}


@pytest.mark.filterwarnings("ignore:.*of the pixels are partly transparent")
@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_those_of_the_whole_image(kind, small, tmp_path):
    change, options = KINDS[kind]
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, change(small), **{"photometric": "rgb", **options})
    np.testing.assert_array_equal(read_in_parts(path), read_image(path))


def test_tiles_that_are_not_in_the_file_are_empty(tmp_path):
    path = tmp_path / "image.tif"
    tiles = (np.full((64, 64, 3), 9, np.uint8) if i % 2 == 0 else None for i in range(6))
    options = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb"}
    tifffile.imwrite(path, tiles, shape=(128, 190, 3), dtype=np.uint8, **options)
    np.testing.assert_array_equal(read_in_parts(path), read_image(path))


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((3000, 4000), {}),
        ((2100, 1100), {"short_side": 1100, "stride": 224}),
        ((1200, 1100), {"refine": "none"}),
    ],
    ids=["shrunk", "at its own size", "without edges"],
)
def test_the_mask_is_that_of_the_whole_image(tiny, large_image, size, settings, tmp_path):
    large_image = large_image[: size[0], : size[1]]
    tifffile.imwrite(tmp_path / "image.tif", large_image, **TILED)
    segmenter = Segmenter(tiny, **settings)
    found = label_large_tiff(
        tmp_path / "image.tif",
        PROMPTS,
        segmenter.pipeline,
        tmp_path / "mask.png",
        tmp_path / "confidence.png",
    )
    expected = segmenter.segment(large_image, PROMPTS)
    write_png(expected, tmp_path / "expected.png")
    write_confidence(expected, tmp_path / "expected_confidence.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected.labels)
    masks = [Image.open(tmp_path / name) for name in ("mask.png", "expected.png")]
    assert masks[0].getpalette() == masks[1].getpalette()
    np.testing.assert_array_equal(
        *(Image.open(tmp_path / name) for name in ("confidence.png", "expected_confidence.png"))
    )
    assert found.size == size
    assert found.pixel_counts() == expected.pixel_counts()
    assert found.confidence_histogram() == expected.confidence_histogram()
    assert found.mean_confidence() == pytest.approx(expected.mean_confidence())


@pytest.mark.parametrize("turn", range(1, 9))
def test_pixels_without_data_are_ignored_in_parts_too(tiny, large_image, turn, tmp_path):
    deep = large_image[:300, :400].astype(np.uint16) * 16
    deep[:50, :70] = 65535
    tags = [(42113, "s", 0, "65535", True), (274, 3, 1, turn, True)]
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, deep, **TILED, extratags=tags)
    whole = read_with_missing(path)
    assert whole.missing.sum() == 50 * 70
    np.testing.assert_array_equal(read_in_parts(path), whole.rgb)
    pipeline = Segmenter(tiny).pipeline
    found = label_large_tiff(path, PROMPTS, pipeline, tmp_path / "mask.png")
    expected = Segmenter(tiny).segment(whole.rgb, PROMPTS).ignoring(whole.missing)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected.labels)
    assert found.pixel_counts() == expected.pixel_counts()


def check_corner_is_missing(path, model):
    """Read and label a file in parts, of which 50 x 70 pixels are missing, as a whole is."""
    whole = read_with_missing(path)
    assert whole.missing.sum() == 50 * 70
    np.testing.assert_array_equal(read_in_parts(path), whole.rgb)
    mask = path.with_name("mask.png")
    label_large_tiff(path, PROMPTS, Segmenter(model).pipeline, mask)
    expected = Segmenter(model).segment(whole.rgb, PROMPTS).ignoring(whole.missing)
    np.testing.assert_array_equal(read_mask(mask), expected.labels)


@pytest.mark.parametrize("turn", [1, 7])
def test_the_mask_within_a_file_counts_in_parts_too(tiny, large_image, turn, tmp_path):
    deep = large_image[:300, :400].astype(np.uint16) * 16
    valid = np.ones((300, 400), bool)
    valid[:50, :70] = False
    path = tmp_path / "image.tif"
    write_with_mask(path, deep, valid, turn, **TILED)
    check_corner_is_missing(path, tiny)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("turn", [1, 7])
def test_what_is_transparent_is_ignored_in_parts_too(tiny, large_image, kind, turn, tmp_path):
    rgba = np.dstack([large_image[:300, :400], np.full((300, 400), 255, np.uint8)])
    rgba[:50, :70] = 0
    path, tags = tmp_path / "image.tif", [(274, 3, 1, turn, True)]
    tifffile.imwrite(path, rgba, **TILED, extrasamples=[kind], extratags=tags)
    check_corner_is_missing(path, tiny)


def test_parts_are_warned_of_like_the_whole_image(tiny, large_image, tmp_path):
    deep = large_image[:300, :400].astype(np.int16) * 16 + 500
    deep[:50, :70] = -9999
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, deep, **TILED)
    pipeline = Segmenter(tiny).pipeline
    found = label_large_tiff(path, PROMPTS, pipeline, tmp_path / "mask.png")
    assert "--nodata -9999" in found.warning
    reading = ReadSettings(nodata=-9999)
    declared = label_large_tiff(path, PROMPTS, pipeline, tmp_path / "mask.png", reading=reading)
    assert declared.warning is None
    assert (read_mask(tmp_path / "mask.png")[:50, :70] == 255).all()


def test_features_are_kept_in_parts_too_and_used_as_a_whole(
    tiny, large_image, tmp_path, monkeypatch
):
    monkeypatch.setattr("dinoiser.segment.windows.BLOCK_SIDE", 128)
    image = np.ascontiguousarray(large_image[:2400:6, :1800:6])
    tifffile.imwrite(tmp_path / "image.tif", image, **TILED)
    pipeline = Segmenter(tiny, short_side=300, window=64, stride=32).pipeline
    assert len(pipeline.plan(image.shape[:2]).blocks) > 1
    name = JobImage("image.tif", "image", str(tmp_path / "image.tif"))

    def label_in_parts(folder, pipeline):
        label_large_tiff(
            name.path,
            PROMPTS,
            pipeline,
            tmp_path / "mask.png",
            features=partial(KeptFeatures(folder).in_parts, name, "digest", pipeline),
        )
        return read_mask(tmp_path / "mask.png")

    first = label_in_parts(tmp_path / "parts", pipeline)
    refusing = replace(pipeline, model=_Refusing(tiny))
    np.testing.assert_array_equal(label_in_parts(tmp_path / "parts", refusing), first)
    # as a whole: from these features, and from those that it keeps itself
    whole = KeptFeatures(tmp_path / "parts").encode(name, image, "digest", refusing)
    np.testing.assert_array_equal(whole.segment(PROMPTS).labels, first)
    KeptFeatures(tmp_path / "whole").encode(name, image, "digest", pipeline)
    means = [read_mean(tmp_path / folder, "image") for folder in ("parts", "whole")]
    np.testing.assert_allclose(*means, atol=1e-5)


def test_features_of_an_image_that_failed_are_not_kept(tiny, small, tmp_path, monkeypatch):
    monkeypatch.setattr("dinoiser.segment.windows.BLOCK_SIDE", 128)
    tifffile.imwrite(tmp_path / "image.tif", small, **TILED)
    name = JobImage("image.tif", "image", str(tmp_path / "image.tif"))
    pipeline = Segmenter(_Refusing(tiny, runs=1), window=64, stride=32).pipeline
    kept = partial(KeptFeatures(tmp_path).in_parts, name, "digest", pipeline)
    with pytest.raises(AssertionError, match="the image tower ran"):
        label_large_tiff(name.path, PROMPTS, pipeline, tmp_path / "m.png", features=kept)
    assert list((tmp_path / "features").iterdir()) == []


def test_previews_are_the_image_in_small(tiny, large_image, tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", large_image, **TILED)
    pipeline = Segmenter(tiny).pipeline
    found = label_large_tiff(
        tmp_path / "image.tif", PROMPTS, pipeline, tmp_path / "mask.png", threads=1
    )
    shrunk = np.asarray(Image.fromarray(large_image).resize((1334, 1000), Image.Resampling.BOX))
    difference = np.abs(found.preview_image.astype(int) - shrunk)
    assert difference.mean() < 4
    labels = Image.fromarray(read_mask(tmp_path / "mask.png"))
    labels = labels.resize((1334, 1000), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(found.preview_labels, np.asarray(labels))


class TestErrors:
    def test_damage(self, tiny, small, tmp_path):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, small, **TILED)
        data = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as tiff:
            start = tiff.pages[0].dataoffsets[1]
        data[start : start + 40] = b"oops" * 10
        path.write_bytes(data)
        with pytest.raises(ImageError, match=r"image.tif: tile or strip 1 cannot be decoded"):
            label_large_tiff(path, PROMPTS, Segmenter(tiny).pipeline, tmp_path / "out/mask.png")
        assert list((tmp_path / "out").iterdir()) == []
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(ImageError, match="truncated"):
            read_in_parts(path)

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            (lambda rgb: rgb.astype(np.float32), {}, "float32"),
            (
                lambda rgb: np.dstack([rgb, rgb[..., 0]]).astype(np.uint16),
                {"extrasamples": ["unassalpha"]},
                "transparency with 16 bits",
            ),
            (lambda rgb: rgb, {"photometric": "cielab"}, "CIELAB"),
        ],
    )
    def test_kinds_that_are_read_as_a_whole_only(self, small, tmp_path, change, options, message):
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, change(small), **{"photometric": "rgb", **options})
        with pytest.raises(ImageError, match=f"{message}.*cannot be read in parts; save it"):
            read_in_parts(path)

    def test_strips_that_hold_it_all(self, small, tmp_path, monkeypatch):
        monkeypatch.setattr("dinoiser.images.large_tiff.SEGMENT_BYTES", 10_000)
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, small, photometric="rgb", compression="zlib", rowsperstrip=334)
        with pytest.raises(ImageError, match=r"strips are 445 x 334 pixels each.*tiled"):
            read_in_parts(path)
        tifffile.imwrite(path, small, photometric="rgb", rowsperstrip=334)
        np.testing.assert_array_equal(read_in_parts(path), small)

    def test_whole_images(self, tiny, small, tmp_path):
        tifffile.imwrite(tmp_path / "image.tif", small, **TILED)
        pipeline = Segmenter(tiny, whole=True).pipeline
        with pytest.raises(SettingsError, match="whole=True"):
            label_large_tiff(tmp_path / "image.tif", PROMPTS, pipeline, tmp_path / "m.png")

    def test_a_limit_that_was_set_counts(self, small, tmp_path, monkeypatch):
        tifffile.imwrite(tmp_path / "image.tif", small, **TILED)
        monkeypatch.setenv("DINOISER_MAX_PIXELS", "1000")
        with pytest.raises(ImageError, match="limit is 1,000"):
            read_in_parts(tmp_path / "image.tif")


def test_a_correction_that_comes_while_parts_are_labelled_stays(small, tmp_path, monkeypatch):
    monkeypatch.setattr("dinoiser.images.large_tiff.LARGE_PIXELS", 10_000)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/a.tif", small, **TILED)
    out = tmp_path / "out"
    label(tmp_path / "images", out, PROMPTS, keep_features=False)
    [labelled] = read_labelled(out)
    corrected, original, saved = np.full(labelled.size, 1, np.uint8), ClipDinoiser.encode_image, []

    def encode(self, pixels):
        if not saved:  # by a person, in review
            saved.append(Reviews(out, PROMPTS).save(labelled, "accepted", corrected))
        return original(self, pixels)

    monkeypatch.setattr(ClipDinoiser, "encode_image", encode)
    relabel(out, PromptSet.parse("background, red star, circle"), running=SYNC)
    assert saved
    np.testing.assert_array_equal(read_mask(out / "masks/a.png"), corrected)
    assert read_reviews(out)["a.tif"].edited


def test_which_files_are_large(small, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "image.tif", small, **TILED)
    Image.fromarray(small).save(tmp_path / "image.png")
    (tmp_path / "damaged.tif").write_bytes(b"II*\0nothing")
    names = ("image.tif", "image.png", "damaged.tif", "missing.tif")
    assert not any(is_large_tiff(tmp_path / name) for name in names)
    monkeypatch.setattr("dinoiser.images.large_tiff.LARGE_PIXELS", 10_000)
    assert [is_large_tiff(tmp_path / name) for name in names] == [True, False, False, False]


MEASURE = """
import resource, sys
import numpy as np, tifffile
import dinoiser
from dinoiser.batch.large_images import label_large_tiff
from dinoiser.batch.relabel import relabel
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews

tile = np.arange(512 * 512 * 3, dtype=np.uint32).reshape(512, 512, 3).astype(np.uint8)
options = {"tile": (512, 512), "photometric": "rgb", "compression": "zlib", "dtype": np.uint8}
pipeline = dinoiser.Segmenter(dinoiser.load_model("tiny", "cpu", "fp32")).pipeline
prompts = dinoiser.PromptSet.parse("background, star")
for side in map(int, sys.argv[1:]):
    tiles = (tile for _ in range((side // 512) ** 2))
    tifffile.imwrite("image.tif", tiles, shape=(side, side, 3), **options)
    label_large_tiff("image.tif", prompts, pipeline, "mask.png", threads=2)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss differ")
def test_memory_does_not_grow_with_the_image(tmp_path):
    command = [sys.executable, "-c", MEASURE, "5120", "10240"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    small, large = map(int, done.stdout.split())
    assert large - small < 0.3 * 3 * (10_240**2 - 5_120**2)  # of the pixels alone
